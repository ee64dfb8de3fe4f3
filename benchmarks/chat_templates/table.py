"""Do appended turns have the ids of the chat template applied to the whole conversation?

    python benchmarks/chat_templates/table.py FOLDER [--json FILE]

FOLDER holds a tokenizer in each of its folders, as `fetch.py` beside this file leaves them, or models in Hugging
Face's layout. Prints what came out of each case for each of them, and the reasons, numbered.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from agentgym.models.append_only import CASES, Finding, inspect
from agentgym.models.load import load_tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = {
        folder.name: inspect(load_tokenizer(str(folder)))
        for folder in sorted(given.folder.iterdir())
        if (folder / "tokenizer_config.json").exists()
    }
    print(table(found))
    if given.json:
        given.json.write_text(
            json.dumps({name: [asdict(f) for f in rows] for name, rows in found.items()}, indent=1)
        )


def table(found: dict[str, list[Finding]]) -> str:
    """A row a case, a column a tokenizer; then the reasons."""
    reasons: dict[str, int] = {}
    for rows in found.values():
        for finding in rows:
            if finding.reason:
                reasons.setdefault(finding.reason, len(reasons) + 1)
    lines = ["| case | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    for number, case in enumerate(CASES):
        cells = [rows[number] for rows in found.values()]
        told = [f.verdict + (f" ({reasons[f.reason]})" if f.reason else "") for f in cells]
        lines.append(f"| {case} | " + " | ".join(told) + " |")
    counts = Counter(finding.verdict for rows in found.values() for finding in rows)
    lines += ["", *(f"{number}. {reason}" for reason, number in reasons.items())]
    return "\n".join([*lines, "", ", ".join(f"{count} {verdict}" for verdict, count in counts.items())])


if __name__ == "__main__":
    main()
