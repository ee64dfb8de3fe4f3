"""The ceiling: find the tag, await the function, write the output."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from episode import ACTIONS, ANSWER, Subject, must, walk

TAG = re.compile(r"<(echo|answer)>\n?(.*?)\n?</\1>", re.DOTALL)


async def echo(text: str) -> str:
    return text


class Bare(Subject):
    async def episode(self, seconds: list[float]) -> None:
        transcript: list[str] = []
        await walk(partial(step, transcript), ACTIONS, seconds)
        must(ANSWER in transcript[-1], transcript)

    async def idle(self) -> Any:
        transcript: list[str] = []
        await step(transcript, ACTIONS[0])
        return transcript


async def step(transcript: list[str], action: str) -> None:
    transcript.append(action)
    found = TAG.search(action)
    if found is not None and found[1] == "echo":
        transcript.append(f"\n<result>\n{await echo(found[2])}\n</result>\n")


def make() -> Bare:
    return Bare()
