"""Scripted managers and answerers. What they do follows from what they were shown, and not from what they know, so
that one who was shown a bad memory answers badly."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agentgym.env import Demonstration
from agentgym.envs.memory_bank import Bank, Memory
from agentgym.envs.tasks.streams import UNKNOWN
from agentgym.protocols.memory_r1 import Event, Operation, write_answered, write_operations

if TYPE_CHECKING:
    from agentgym.envs.memory import MemoryEnv

Said = Mapping[str, Any]


def demonstrate(env: MemoryEnv, rng: random.Random) -> Demonstration:
    """Operations for one part after the other, some of them tossed for, and answers, some of them guessed."""
    parts, questions = env.parts, env.questions
    if any("stem" not in question for question in questions):
        raise NotImplementedError(
            "these tasks do not say what their parts mean, as those of env.tasks=streams do; others need a model "
            "that can read, as in recipe=memory_r1 model=NAME"
        )
    for part in parts:
        if rng.random() < env.config.demo_error_rate:
            yield write_operations(toss(part, env.bank, rng))
        else:
            yield write_operations(oracle(part, env.bank))
    for question in questions:
        shown = env.shown
        if shown and rng.random() < env.config.demo_guess_rate:
            memory = rng.choice(shown)
            text = rng.choice([text for text in (memory.text, *memory.former) if text])
            yield write_answered([memory.line()], value(text))
        else:
            yield answer(question, shown)


def oracle(part: Said, bank: Bank) -> list[Operation]:
    """What a perfect manager does about a part, whatever was done before; nothing for NOOP."""
    says = part.get("says")
    if says is None:
        return []
    known = about(says["stem"], bank.live)
    if says["value"] is None:
        return [Operation("DELETE", memory.id) for memory in known]
    text = f"{says['stem']} {says['value']}."
    if any(memory.text == text for memory in known):
        return []
    if known:
        return [Operation("UPDATE", known[-1].id, text)]
    if bank.capacity is not None and len(bank.live) >= bank.capacity:
        return []
    return [Operation("ADD", text=text)]


def toss(part: Said, bank: Bank, rng: random.Random) -> list[Operation]:
    """Any operation that is possible."""
    says, live = part.get("says"), bank.live
    text = f"{says['stem']} {says['value']}." if says and says["value"] else str(part["text"])
    events: list[Event] = ["NOOP"]
    if bank.capacity is None or len(live) < bank.capacity:
        events.append("ADD")
    if live:
        events += ["UPDATE", "DELETE"]
    event = rng.choice(events)
    if event == "NOOP":
        return []
    number = None if event == "ADD" else rng.choice(live).id
    return [Operation(event, number, "" if event == "DELETE" else text)]


def answer(question: Said, shown: Sequence[Memory]) -> str:
    """What follows from the memories that are shown."""
    known = about(question["stem"], shown)
    if not known:
        return write_answered([], UNKNOWN)
    memory = known[-1]
    texts = memory.former if question["before"] else () if memory.deleted else (memory.text,)
    return write_answered([memory.line()], value(texts[0]) if texts else UNKNOWN)


def about(stem: str, memories: Sequence[Memory]) -> list[Memory]:
    """The memories of a fact, those that were deleted first."""
    found = [m for m in memories if any(text.startswith(stem) for text in (m.text, *m.former[:1]))]
    return sorted(found, key=lambda memory: (not memory.deleted, memory.id))


def value(text: str) -> str:
    """The last word of what is remembered."""
    return text.rstrip(".").rpartition(" ")[2]
