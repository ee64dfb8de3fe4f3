"""The program that `grading.py` runs in a process of its own: compares answers with math-verify.

One JSON object a line: `{"gold", "answer"}` in, `{"right"}` or `{"right", "note"}` out, after `{"ready"}`.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
from typing import Any

MEMORY = 2 * 2**30
_PLAIN = {"**": "^", "*": " \\cdot ", "<=": "\\le ", ">=": "\\ge "}
_NAMES = {"pi": "\\pi", "oo": "\\infty", "inf": "\\infty", "infinity": "\\infty", "I": "i"}


def same(gold: str, answer: str) -> dict[str, Any]:
    """math-verify's verdict; a note says why an answer could not be compared."""
    from math_verify import verify

    want, got = understand(gold), understand(answer)
    if not want or not got:
        return {"right": False, "note": f"not understood: {answer if want else gold}"}
    try:
        if is_written_out(want[0]) and not is_written_out(got[0]):
            return {"right": False, "note": f"not a number written out: {answer}"}
        if is_approximate(want[0], got[0]):
            return {"right": bool(abs(want[0] - got[0]) <= tolerance(want[0]))}
        return {"right": bool(verify(want, got, timeout_seconds=None, raise_on_error=True))}
    except Exception as error:  # of the algebra system, on this one answer: whatever it is, it belongs in the note
        return {"right": False, "note": f"{type(error).__name__}: {error}"}


def is_written_out(value: Any) -> bool:
    """Whether `value` is one number as written (`3/4`, `-1.5 * 10^6`, `x = 18`), not a sum left to the reader:
    who is asked for 48213 * 9127 has not answered with `48213*9127`."""
    from math_verify.grader import take_last_relation

    if getattr(value, "is_Relational", False) or getattr(value, "is_Boolean", False):
        value = take_last_relation(value).rhs
    if not getattr(value, "is_number", False):
        return False
    parts = [part for part in (value.args if value.is_Mul else (value,)) if part != -1]
    scales = [
        p for p in parts if p.is_Pow and p.base.is_Integer and p.exp.is_Integer and (p.base == 10 or p.exp == -1)
    ]
    rest = [part for part in parts if part not in scales]
    return len(scales) <= 1 and len(rest) <= 1 and all(part.is_Number for part in rest)


def is_approximate(want: Any, got: Any) -> bool:
    """Whether two finite real numbers are compared of which one is written with a decimal point."""
    both = (want, got)
    plain = all(getattr(x, "is_number", False) and x.is_extended_real and x.is_finite for x in both)
    return plain and any(atom.is_Float for x in both for atom in x.atoms())


def tolerance(want: Any) -> float:
    """Half of the sixth decimal; of the sixth significant digit for a number below 1."""
    return 5e-7 * min(1.0, abs(float(want)) or 1.0)


def understand(text: str) -> list[Any]:
    """`text` as math-verify reads it. Only its LaTeX reader is used: the other one evaluates Python."""
    from math_verify import LatexExtractionConfig, parse

    latex = text if "\\" in text else to_latex(text)
    latex = re.sub(r"(?<![a-zA-Z\\])i(?![a-zA-Z])", " i ", latex)  # set apart, it is read as the imaginary unit
    found: list[Any] = parse(
        "$" + latex.replace("%", "\\%") + "$",
        extraction_config=[LatexExtractionConfig()],
        fallback_mode="no_fallback",
        parsing_timeout=None,
    )
    return found


def to_latex(text: str) -> str:
    """Python's or SymPy's notation as LaTeX: `3*sqrt(3)/4`, `x**10 - 1`, `Rational(1, 3)`."""
    text = re.sub(r"(?:Rational|Fraction)\(\s*(-?\d+)\s*,\s*(\d+)\s*\)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"(?<=\d)[eE]([+-]?\d+)", r" \\cdot 10^{\1}", text)
    text = re.sub(r"(?:\*\*|\^)\s*(-?\d+)", r"^{\1}", text)
    while (call := re.search(r"(sqrt|\*\*|\^)\(([^()]*(?:\([^()]*\)[^()]*)*)\)", text)) is not None:
        head = "\\sqrt" if call[1] == "sqrt" else "^"
        text = f"{text[: call.start()]}{head}{{{call[2]}}}{text[call.end() :]}"
    for plain, latex in _PLAIN.items():
        text = text.replace(plain, latex)
    text = re.sub(r"(?<![\\a-zA-Z])(?:pi|oo|inf|infinity|I)(?![a-zA-Z])", lambda m: _NAMES[m[0]], text)
    return re.sub(r"^\{(.*)\}$", r"\\{\1\\}", text)


def main() -> None:
    """Answer until standard input ends. A question that outlives `sys.argv[1]` seconds ends the process."""
    deadline = int(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    same("\\frac{1}{2}", "x+1")  # loads the parser's tables now, not under the first question's deadline
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        signal.alarm(deadline)
        answer = same(question["gold"], question["answer"])
        signal.alarm(0)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
