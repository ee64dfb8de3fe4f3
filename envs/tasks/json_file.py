"""What a file of JSON holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agentgym.errors import TaskError


def read_json(file: Path) -> Any:
    """The value in a .json file; of a .jsonl file, the list of its lines' values. Raises TaskError."""
    try:
        text = file.read_text(encoding="utf-8")
        lines = [line for line in text.split("\n") if line.strip()] if file.suffix == ".jsonl" else []
        return [json.loads(line) for line in lines] if lines else json.loads(text)
    except OSError as error:
        raise TaskError(f"{file}: cannot be read: {error}") from error
    except ValueError as error:
        raise TaskError(f"{file}: not JSON: {error}") from error
