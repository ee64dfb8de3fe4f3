"""New instructions, written by an LLM that is shown where the policy failed under the present ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from msgspec import Struct

from agentgym.llm import Llm
from agentgym.llms.quote import RULE, quote
from agentgym.llms.structured import ask
from agentgym.types import Message

TASK = (
    "An agent is trained by reinforcement learning. It reads an instruction and a question, and may call tools "
    "before it answers. Find out from its failures what the instructions lack, and write better ones: strategies "
    "that help with any question of this kind, never facts about a particular one, and no answers. " + RULE
)


class Failure(TypedDict):
    """A trajectory that earned little. All of it is JSON."""

    instruction: str
    question: str
    transcript: str
    reward: float


class Proposals(Struct, forbid_unknown_fields=True):
    """reflection: comes first, so that the model has thought before it writes."""

    reflection: str
    instructions: list[str]


async def propose(
    llm: Llm, ranked: Sequence[tuple[str, float]], failures: Sequence[Failure], count: int, max_length: int
) -> list[str]:
    """What the model proposes, unchecked. ranked: the present instructions with their weights. Raises LlmError."""
    present = "\n\n".join(f"Weight {weight:+.3f}:\n{quote(text)}" for text, weight in ranked)
    seen = "\n\n".join(
        f"Failure {number}, reward {failure['reward']:g}. Instruction:\n{quote(failure['instruction'])}\n"
        f"Prompt:\n{quote(failure['question'])}\nAgent and tools:\n{quote(failure['transcript'])}"
        for number, failure in enumerate(failures, 1)
    )
    wish = (
        f"Write {count} new instructions, different from each other and of at most {max_length} characters each."
    )
    messages: list[Message] = [
        {"role": "system", "content": TASK},
        {
            "role": "user",
            "content": f"Present instructions, the best first:\n\n{present}\n\nFailures:\n\n{seen}\n\n{wish}",
        },
    ]
    budget = 512 + count * max_length // 2  # tokens; characters are fewer to a token in most languages but English
    [proposals] = await ask(llm, messages, Proposals, temperature=1.0, max_tokens=budget)
    return proposals.instructions
