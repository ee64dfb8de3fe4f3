"""How many episodes one manager holds at a time, in how much memory, where tools take no time: env tool_agent.

Every episode is a prompt, calls of a tool that says again what it is given, and an answer that is rewarded,
through agentgym's own manager, walks, chat template and tool box. The policy is a script that answers nobody
before all episodes have asked, so that as many as there are wait at the same time, turn after turn.

    python benchmarks/many_episodes.py [--episodes 10000] [--turns 4] [--repeat 3] [--json FILE]

A round is a process that measures itself. Peak: the most memory that it ever had, all told; before: what it had
when the first episode began.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from agentgym.config import build
from agentgym.engine import Sample, Sampling
from agentgym.models import nano
from agentgym.models.chat import Chat
from agentgym.rollout.independent import Independent
from agentgym.rollout.manager import Guard, Manager
from agentgym.rollout.walk import Limits
from agentgym.services import Services
from agentgym.types import Task, Tokens

CALL = 'Let me see.\n<tool_call>\n{{"name": "echo", "arguments": {{"text": "{}"}}}}\n</tool_call>'
CLOSING = "<answer>\\boxed{{{}}}</answer>"
GROUP = 8
MIB = 2**20


async def echo(text: str) -> str:
    """Say the text again.

    text: what to say
    """
    return text


class Script:
    """An engine that answers when `episodes` wait, every one its next line. most: that ever waited at a time."""

    version = reused = 0
    max_len = vocab_size = 10**9
    shares_weights = True

    def __init__(self, chat: Chat, episodes: int, turns: int) -> None:
        self.chat, self.episodes, self.turns = chat, episodes, turns
        self.most = self._waiting = 0
        self._all_wait = asyncio.Event()
        self._said: dict[str, int] = {}

    async def sample(
        self, ids: Sequence[int], sampling: Sampling, *, session: str | None = None, parent: str | None = None
    ) -> Sample:
        """The session's next line, once all have asked."""
        assert session is not None
        self._waiting += 1
        self.most = max(self.most, self._waiting)
        turn = self._said[session] = self._said.get(session, 0) + 1
        everybody = self._all_wait
        if self._waiting == self.episodes:
            self._all_wait, self._waiting = asyncio.Event(), 0
            everybody.set()
        await everybody.wait()
        text = (CLOSING if turn == self.turns else CALL).format(session.partition("/")[0])
        said = self.chat.speak(text, end=True)
        logprobs = tuple(-random.random() for _ in said)  # each a number of its own in memory, as a model's are
        entropy = tuple(random.random() for _ in said)
        return Sample(Tokens(said, logprobs, entropy, (0,) * len(said)), text, "eos")

    def release(self, session: str) -> None:
        """Forget how far it was."""
        self._said.pop(session, None)


async def hold(episodes: int, turns: int) -> dict[str, float]:
    """Play them all at once, and what that took."""
    groups = episodes // GROUP
    chat = Chat(nano.tokenizer())
    env = build("env", {"name": "tool_agent", "tools": f"{__file__}:echo", "max_turns": turns})
    engine = Script(chat, groups * GROUP, turns)
    tasks = [
        (f"group {i}", Task(str(i), f"What does the tool say of 'group {i}'?", f"group {i}"))
        for i in range(groups)
    ]
    async with Services() as services:
        manager = Manager(
            env, engine, chat, services, Limits(10**6), Guard(concurrency=episodes, episode_timeout=3600)
        )
        before, began = peak(), time.perf_counter()
        played = await manager.run(Independent(), tasks, 0, GROUP)
        seconds = time.perf_counter() - began
    returns = [value for group in played for value in group.returns()]
    return {
        "waiting at once": engine.most,
        "right": statistics.fmean(value == 1 for value in returns),
        "seconds": seconds,
        "steps/s": len(returns) * turns / seconds,
        "peak MiB": peak(),
        "before MiB": before,
        "KiB an episode": 1024 * (peak() - before) / len(returns),
    }


def peak() -> float:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB


def main() -> None:
    """Rounds, each in a process of its own; the table of their medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(asyncio.run(hold(options.episodes, options.turns))))
        return
    command = [sys.executable, __file__, "--one", f"--episodes={options.episodes}", f"--turns={options.turns}"]
    rounds: list[dict[str, Any]] = [
        json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        for _ in range(options.repeat)
    ]
    table = Table("", "median", "lowest", "highest")
    for name in rounds[0]:
        values = [each[name] for each in rounds]
        table.add_row(name, *(f"{pick(values):,.5g}" for pick in (statistics.median, min, max)))
    Console().print(
        f"{options.episodes} episodes of {options.turns} turns at once, {options.repeat} rounds", table
    )
    if options.json:
        options.json.write_text(json.dumps(rounds, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
