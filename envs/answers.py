r"""Comparing answers that need no algebra: numbers, fractions, percentages, units, words.

`compare` decides what it can in microseconds and leaves the rest (None) to math-verify in a worker.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_LENGTH = 1000
_DROPPED = re.compile(r"\\(?:left|right|displaystyle|[!,;:])(?![a-zA-Z])|\\ |~|\\?\$|\\[()\[\]]")
_TEXT = re.compile(r"\\(?:text|textbf|textrm|textit|mbox|mathrm|mathbf)\s*\{([^{}]*)\}")
_DEGREE = re.compile(r"\^?\s*(?:\{\s*)?(?:\\circ|\\degree|°)(?:\s*\})?")
_BASE = re.compile(r"([\dA-F]+)_(?:\{(?:\\text\{)?)?(\w+)\}*")
_DECIMAL = r"(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d*)?(?:[eE][+-]?\d{1,3})?"
_FRACTION = r"\\frac\s*(?:\{\s*(?P<n>-?\d+)\s*\}|(?P<n1>\d))\s*(?:\{\s*(?P<d>-?\d+)\s*\}|(?P<d1>\d))"
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?)\s*(?:{_FRACTION}|(?P<n2>\d+)\s*/\s*(?P<d2>\d+)|(?P<decimal>{_DECIMAL}))"
    r"(?:\s*(?P<percent>%|percent)|\s*(?P<text>\\(?:text|mbox|mathrm)\{.*)"
    r"|\s+(?P<word>[a-zA-Z]{2,}[a-zA-Z .^\d]*))?"
)
_NOT_UNITS = {
    "pi", "sqrt", "oo", "inf", "infinity", "exp", "log", "ln", "sin", "cos", "tan", "mod", "or", "and", "plus",
    "minus", "times", "over", "hundred", "thousand", "million", "billion", "trillion", "dozen",
}  # fmt: skip
_ABBREVIATIONS = {
    "cm": "centimeter", "mm": "millimeter", "m": "meter", "km": "kilometer", "in": "inch", "inches": "inch",
    "ft": "foot", "feet": "foot", "yd": "yard", "mi": "mile", "g": "gram", "kg": "kilogram", "lb": "pound",
    "oz": "ounce", "s": "second", "sec": "second", "min": "minute", "h": "hour", "hr": "hour", "deg": "degree",
    "sq": "square", "c": "cent",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Number:
    """A number as written. place: worth of its last decimal (None: written exactly); digits: significant ones."""

    value: Fraction
    place: Fraction | None = None
    digits: int = 0
    percent: bool = False
    unit: str = ""


def compare(gold: str, answer: str) -> bool | None:
    """Whether `answer` means the same as `gold`; None where that takes algebra to tell."""
    if len(answer) > max(MAX_LENGTH, 2 * len(gold)):
        return False
    gold, answer = normalise(gold), normalise(answer)
    if re.sub(r"\s", "", gold) == re.sub(r"\s", "", answer):
        return bool(answer)
    if not answer:
        return False
    for decide in (_compare_bases, _compare_numbers, _compare_words):
        verdict = decide(gold, answer)
        if verdict is not None:
            return verdict
    return None


def normalise(text: str) -> str:
    """LaTeX without spacing commands, dollar signs, `\\left`, variant fractions, and a final full stop."""
    text = text.strip().replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").replace("{,}", ",")
    text = re.sub(r"(?<=\d),\s*\\!\s*(?=\d{3})", ",", text)
    text = _DROPPED.sub(lambda found: " " if found.group() in ("\\ ", "~") else "", text)
    text = text.replace("−", "-").replace("\\%", "%")
    return re.sub(r"\s+", " ", text).strip().removesuffix(".").strip()


def number(text: str) -> Number | None:
    r"""`text` as one number written out: `-1,234.50`, `\frac{3}{4}`, `50%`, `90^\circ`, `5.4 \text{ cents}`."""
    degrees = len(_DEGREE.findall(text)) == 1
    match = _NUMBER.fullmatch(_DEGREE.sub("", text).strip()) if len(text) <= MAX_LENGTH else None
    behind = (match["text"] or match["word"] or "") if match else ""
    if match is None or match["decimal"] in ("", ".") or _NOT_UNITS & set(re.findall("[a-z]+", behind.lower())):
        return None
    unit = _unit(behind, degrees)
    sign = -1 if match["sign"] == "-" else 1
    if match["decimal"] is None:
        over = next(int(match[name]) for name in ("n", "n1", "n2") if match[name])
        under = next(int(match[name]) for name in ("d", "d1", "d2") if match[name])
        return Number(Fraction(sign * over, under), None, 0, bool(match["percent"]), unit) if under else None
    written = match["decimal"].replace(",", "").lower()
    if written.startswith("e"):
        return None
    mantissa, _, exponent = written.partition("e")
    decimals = len(mantissa.partition(".")[2])
    approximate = "." in mantissa or bool(exponent)
    place = Fraction(10) ** (int(exponent or 0) - decimals) if approximate else None
    digits = len(mantissa.replace(".", "").lstrip("0"))
    return Number(sign * Fraction(written), place, digits, bool(match["percent"]), unit)


def _unit(text: str, degrees: bool) -> str:
    if degrees:
        return "degree"
    words = re.findall(r"[a-z]+|\d", _TEXT.sub(r" \1 ", text).lower())
    squared = {"squared": "2", "cubed": "3"}
    names = [_ABBREVIATIONS.get(word, squared.get(word, word)) for word in words]
    names = [name.removesuffix("s") if len(name) > 3 else name for name in names]
    if names[:1] in (["square"], ["cubic"]):
        names = [*names[1:], "2" if names[0] == "square" else "3"]
    return " ".join(names)


def _compare_numbers(gold: str, answer: str) -> bool | None:
    want, got = number(gold), number(answer)
    if want is None or got is None:
        return None
    if want.unit and got.unit and want.unit != got.unit:
        return False
    if want.percent != got.percent:
        part, whole = (want, got) if want.percent else (got, want)
        return whole.value in (part.value, part.value / 100)
    return _close(want, got)


def _close(want: Number, got: Number) -> bool:
    """Equal, or one of the two is a decimal with at least 6 significant digits to which the other one rounds.

    Differences in a float's last digits are allowed too: 0.30000000000000004 is 0.3, 17.999999999999996 is 18.
    """
    if want.value == got.value:
        return True
    if want.place is None and got.place is None:
        return False
    if want.value.denominator == got.value.denominator == 1:
        return False
    rounding = [n.place / 2 for n in (want, got) if n.place is not None and n.digits >= 6]
    return abs(want.value - got.value) <= max([*rounding, abs(want.value) / 10**14])


def _compare_bases(gold: str, answer: str) -> bool | None:
    """`40_9`: the digits must agree, and the base where both name one. The value in base 10 is not enough."""
    want, got = _BASE.fullmatch(gold), _BASE.fullmatch(answer)
    if want is None and got is None:
        return None
    digits = [match[1] if match else text for match, text in ((want, gold), (got, answer))]
    same_base = want is None or got is None or want[2] == got[2]
    return same_base and digits[0] == digits[1]


def _compare_words(gold: str, answer: str) -> bool | None:
    r"""`\text{(C)}`, `C` and `(C)`; `\text{east}` and `East`. Decides when the gold is words, not symbols."""
    want, got = _words(gold), _words(answer)
    if want is None:
        return None
    if got is not None and want.casefold() == got.casefold():
        return True if len(want) > 1 or "\\" in gold or want == got else None
    return False if "\\" in gold or len(want) > 3 else None


def _words(text: str) -> str | None:
    plain = _TEXT.sub(r"\1", text).strip()
    plain = re.sub(r"\s+", " ", re.sub(r"^\((.*)\)$", r"\1", plain)).strip(" .")
    return plain if re.fullmatch(r"[^\W\d_](?:[^\W\d_]|[ ,']|\b-\b(?=\w\w))*", plain) else None
