"""Programs and outputs that are hard to read."""

from __future__ import annotations

import json

from agentgym.checks.attacks.attack import SECONDS, Arena, Attack, Judge
from agentgym.checks.attacks.judges import ends, expect_usable
from agentgym.checks.harness import Broken, expect
from agentgym.checks.sandbox import expect_output
from agentgym.errors import SandboxError


async def is_text(arena: Arena, program: str) -> str:
    """What arrives is text that can be written down as UTF-8 and as JSON."""
    session = await arena.open()
    result = await arena.attack(session, program)
    try:
        size = len((result.stdout + result.stderr).encode()) + len(json.dumps(result.stdout))
    except UnicodeEncodeError as error:
        raise Broken(f"its output is no text: {error}") from error
    await expect_usable(session, result)
    return f"ended as {result.status}, {size} bytes"


def takes(*sources: str) -> Judge:
    """Each source gets a result, and the session goes on."""

    async def judge(arena: Arena, program: str) -> str:
        session = await arena.open()
        seen = []
        for source in sources:
            result = await session.run(source, SECONDS)
            seen.append(result.status)
            expect(result.status not in ("ok", "timeout"), f"{source[:20]!a} ends as {result.status}")
            await expect_usable(session, result)
        return f"ended as {', '.join(seen)}"

    return judge


def refuses(*names: str) -> Judge:
    """Reading each name raises OSError or SandboxError, and the session goes on."""

    async def judge(arena: Arena, program: str) -> str:
        session = await arena.open()
        for name in names:
            try:
                data = await session.read(name)
            except (OSError, SandboxError):
                continue
            raise Broken(f"{name[:20]!a} was read: {len(data)} bytes")
        expect_output(await session.run("print(6 * 7)", SECONDS), "42", "the session goes on")
        return f"{len(names)} refused"

    return judge


ATTACKS = (
    Attack(
        "no text at all",
        "bytes that are no UTF-8, lone surrogates and NULs arrive as text",
        """
os.write(1, bytes(range(256)) * 16 + b'\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80\\0')
print('\\ud800 \\udfff \\0 \\ufffe \\U0010ffff')
print('\\udcff', file=sys.stderr)
""",
        is_text,
    ),
    Attack(
        "a character cut in two",
        "a character of which a limit or an exit leaves half arrives as text",
        "os.write(1, b'\\xf0\\x9f'); os.write(2, b'\\xe2\\x82'); os._exit(1)",
        is_text,
    ),
    Attack(
        "programs that are none",
        "each ends as an error or as the session's end, and never fails the machinery",
        "",
        takes(
            "\ud800",
            "x = '\udfff",
            "\0",
            "(" * 100_000,
            "[" * 90 + "]" * 91,
            "-" * 1_000_000 + "1 1",
            "if 1:\n",
            "x" + "y" * 4_000_000 + " z",
            "\x1b[2J",
            "\ufeff\ufeffx =",
        ),
    ),
    Attack(
        "values that cannot be shown",
        "a value that nests too deep, or whose text raises, is an error",
        "x = []\nfor _ in range(1_000_000): x = [x]\nx",
        ends("error", "killed", "oom"),
    ),
    Attack(
        "names that are none",
        "impossible file names are refused, and the session goes on",
        "",
        refuses("a\0b", "\ud800", "x" * 100_000, "", ".", "a/" * 5_000),
    ),
)
