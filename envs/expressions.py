"""Arithmetic expressions as answers: Countdown and the 24 game."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

MAX_LENGTH = 300
_SIGNS = {"\\times": "*", "\\cdot": "*", "×": "*", "\\div": "/", "÷": "/", "−": "-", "\\left": "", "\\right": ""}
_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}


def hits_target(answer: str, numbers: Sequence[int], target: int) -> bool:
    """Whether `answer` uses each of `numbers` exactly once, only + - * / and parentheses, and equals `target`.

    Evaluated in exact fractions; nothing is executed. A trailing `= target` is allowed.
    """
    text = answer
    for sign, plain in _SIGNS.items():
        text = text.replace(sign, plain)
    expression, equals, value = text.strip().strip("$").partition("=")
    if equals and value.strip() != str(target):
        return False
    if len(expression) > MAX_LENGTH or not re.fullmatch(r"[\d\s+\-*/()]+", expression):
        return False
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
        used = Counter(_numbers(tree))
        return used == Counter(numbers) and _value(tree) == target
    except (SyntaxError, ValueError, ZeroDivisionError):
        return False


def _numbers(node: ast.expr) -> Iterator[int]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, int):
            yield part.value


def _value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return Fraction(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError(f"{type(node).__name__} is not + - * / of whole numbers")
