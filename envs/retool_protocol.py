r"""ReTool's text protocol (arXiv 2504.11536): `<code>` runs, `<interpreter>` answers, and a turn without a program
ends, in ReTool with the answer in `\boxed{}`.

Only what the policy said is parsed; what a program printed is escaped before it is shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from agentgym.types import Message, Task

STOP = "</code>"
Prompt = Literal["auto", "plain", "instruct"]

RUNNING = """\
To run a program, write it between tags on lines of their own and stop:
<code>
print(2**64 % 97)
</code>
Its output comes back between <interpreter> and </interpreter>, and you go on from there. Only printed text is \
shown. Variables stay defined for your later programs. If a program fails you see the error: correct it and run \
it again."""

INSTRUCTIONS = f"""\
Solve the problem. You can run Python programs while you think.

{RUNNING} Compute exactly with a program instead of in your head, and check a result that looks odd.

When you are sure, give the final answer as \\boxed{{answer}}, with nothing but the answer inside, and end your \
reply. Do not write anything between <interpreter> tags yourself."""


@dataclass(frozen=True, slots=True)
class Call:
    """Run this program."""

    code: str


@dataclass(frozen=True, slots=True)
class Final:
    """The policy ended its turn; None: without an answer."""

    answer: str | None


@dataclass(frozen=True, slots=True)
class Malformed:
    """A turn that means nothing; `reason` tells the policy what is wrong."""

    reason: str


def parse(action: str, read_answer: Callable[[str], str | None]) -> Call | Final | Malformed:
    """What a turn asks for. Text after the first `</code>` is not read: the policy should have stopped there.

    read_answer: finds the answer in a turn that runs no program."""
    said, closed, _ = action.partition(STOP)
    before, opened, code = said.partition("<code>")
    if not closed:
        return Final(None if opened else read_answer(before))
    if not opened:
        return Malformed("Error: the closing code tag has no opening one before it.")
    if not code.strip():
        return Malformed("Error: there is no program between the code tags.")
    return Call(code.strip("\n"))


def render(output: str) -> str:
    """The observation that carries `output`; the text continues the policy's own message."""
    return f"\n<interpreter>\n{escape(output)}\n</interpreter>\n"


def escape(output: str) -> str:
    """`output` with the `<` of protocol tags and of `<|special|>` tokens written as `&lt;`."""
    return re.sub(r"<(?=\s*/?\s*(?:code|interpreter)\b|\|)", "&lt;", output, flags=re.IGNORECASE)


def read(observation: str) -> str:
    """The output in an observation made by `render`."""
    return observation.removeprefix("\n<interpreter>\n").removesuffix("\n</interpreter>\n")


def opening(task: Task, prompt: Prompt, instructions: str) -> list[Message]:
    """The first messages: the question as it is (`plain`), or after the instructions."""
    question: list[Message]
    question = [{"role": "user", "content": task.prompt}] if isinstance(task.prompt, str) else list(task.prompt)
    if prompt == "plain":
        return question
    if question[0]["role"] == "system":
        system, *question = question
        return [{"role": "system", "content": f"{system['content']}\n\n{instructions}"}, *question]
    return [{"role": "system", "content": instructions}, *question]
