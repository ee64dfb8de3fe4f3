"""What it costs to wait for all at every turn, where tools take as long as they like.

64 episodes (8 prompts of about 200 tokens, 8 of each) of 4 turns. A turn is a fixed number of sampled tokens, then
a tool whose latency is log-normal, then its answer of about 20 tokens. The policy is `model=nano` with random
weights. Both forms have the same seeds, and so the same latencies; each round has others.

agentgym: `Manager` and `independent` as they are, every episode a coroutine of its own.
turn-synchronous: all sample, then all tools run, then the next turn; with the same engine, which keeps all caches.
generation: agentgym with tools that take no time.
critical path: what would remain on a machine of any size. The largest sum, over the episodes, of an episode's own
    latencies and of the time its turns take when it is alone in the engine, with tools that take no time.
bound: the larger of generation and critical path, as if one could hide wholly behind the other.
batching at its best: computed. Who comes back joins at the next step, nothing else costs time, and a step's cost
    grows evenly from what it is for one episode to what it is for 64 (both as measured, their prefill included).
latencies alone: turn-synchronous / agentgym if sampling took no time. It is the draw's: the tail of the log-normal
    is heavy, so one slow call of 256 decides much, and rounds differ.

branching is `entropy_branching` (8 groups of 8, initial_rollouts=4, branch_probability=0.5, entropy_weight=0),
beside the same behind the gate of `deterministic`, which lets nobody speak before all wait to. On its critical
path a branch begins when the turn beside it has been sampled, and what is short of 8 in the end when all others
have ended. What branches is a race for the last forks, so both forms' latencies are alike only on average.

A round is a seed; in it all take turns, so that a slow minute hits all. Ratios are medians of those in a round.

    python benchmarks/barrier.py --threads 2 --json barrier.json
    python benchmarks/barrier.py --seeds 2 2 2      # the same latencies each time
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import math
import os
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import torch

from agentgym.engine import Sample, Sampling
from agentgym.engines.scheduler import TorchEngine
from agentgym.engines.torch import Torch
from agentgym.env import Env, StepResult
from agentgym.models import nano
from agentgym.models.chat import Chat
from agentgym.rollout.entropy_branching import EntropyBranching
from agentgym.rollout.independent import Independent
from agentgym.rollout.manager import Guard, Manager
from agentgym.rollout.strategy import RolloutStrategy
from agentgym.rollout.walk import Limits, Walk
from agentgym.services import Services
from agentgym.types import Group, Task

PROMPTS, SAMPLES, TURNS, SIGMA = 8, 8, 4, 1.2
BRANCHING = EntropyBranching(initial_rollouts=4, branch_probability=0.5, entropy_weight=0.0)
LIMITS = Limits(max_tokens=1 << 20)
PROMPT = "Find the sum of the two numbers that the program prints. " * 12
ANSWER = "\nThe tool says that the answer is 4711.\n"


@dataclass(frozen=True)
class Slow:
    """Config of an environment whose tool takes a log-normal time. median: in seconds; turns: before it ends."""

    median: float
    turns: int = TURNS

    def make(self, services: Services) -> Env:
        return SlowEnv(self, services)

    def source(self) -> Any:
        raise NotImplementedError


class SlowEnv(Env):
    config: Slow

    async def start(self, task: Task, rng: random.Random) -> str:
        self.left, self.rng = self.config.turns, rng
        return str(task.prompt)

    async def act(self, action: str) -> StepResult:
        self.left -= 1
        median = self.config.median
        latency = self.rng.lognormvariate(math.log(median), SIGMA) if median else 0.0
        await asyncio.sleep(latency)
        return StepResult(ANSWER, 0.0, self.left == 0, False, {"latency": latency})

    async def copy_to(self, twin: Env, seed: int | None) -> None:
        assert isinstance(twin, SlowEnv)
        twin.left, twin.rng = self.left, random.Random(seed)


class Steady(TorchEngine):
    """An engine whose samples all have `length` tokens."""

    length: int

    async def sample(
        self, ids: Sequence[int], sampling: Sampling, *, session: str | None = None, parent: str | None = None
    ) -> Sample:
        sampling = replace(sampling, max_tokens=self.length)
        return replace(await super().sample(ids, sampling, session=session, parent=parent), finish="stop")


def make_engine(length: int) -> Steady:
    """nano, never at the end of its turn."""
    model, tokenizer = nano.model(0), nano.tokenizer()
    model.generation_config.eos_token_id = tokenizer.eos_token = None
    engine = Steady(model, tokenizer, Torch(device="cpu"))
    engine.length = length
    return engine


def tasks(count: int) -> list[tuple[str, Task]]:
    return [(f"s0-{i}", Task(str(i), f"Problem {i}. {PROMPT}", "")) for i in range(count)]


@dataclass(frozen=True)
class Bench:
    """What is timed; each returns seconds, and the groups it played."""

    engine: Steady
    chat: Chat
    services: Services

    async def managed(
        self, strategy: RolloutStrategy, median: float, seed: int, *, prompts: int = PROMPTS, gate: bool = False
    ) -> tuple[float, list[Group]]:
        """agentgym's own. With one prompt: a single episode."""
        guard = Guard(max_error_frac=0.0, deterministic=gate)
        manager = Manager(Slow(median), self.engine, self.chat, self.services, LIMITS, guard)
        started = time.perf_counter()
        groups = await manager.run(strategy, tasks(prompts), seed, SAMPLES if prompts > 1 else 1)
        return time.perf_counter() - started, groups

    async def turn_synchronous(self, median: float, seed: int) -> float:
        """The same episodes, with two barriers a turn."""
        started = time.perf_counter()
        walks = [
            Walk(
                Group(group, task),
                Slow(median).make(self.services),
                self.engine,
                self.chat,
                LIMITS,
                hash((hash((seed, index)), i)),
                f"{group}/{i}",
            )
            for index, (group, task) in enumerate(tasks(PROMPTS))
            for i in range(SAMPLES)
        ]
        await asyncio.gather(*(walk.start() for walk in walks))
        for _ in range(TURNS):
            samples = await asyncio.gather(*(walk.sample() for walk in walks))
            await asyncio.gather(*(walk.apply(sample) for walk, sample in zip(walks, samples, strict=True)))
        for walk in walks:
            await walk.close()
        return time.perf_counter() - started


def critical_path(group: Group, initial: int, turn: float) -> float:
    """Seconds until the last of a group's episodes could have ended, when sampling takes `turn` and nothing else
    is waited for. Roots beyond `initial` begin when all before have ended."""
    sampled: list[float] = []
    ended: list[float] = []
    first_child: dict[int, int] = {}
    roots, second_wave = 0, 0.0
    for index, this in enumerate(group.turns):
        if this.parent is None:
            roots += 1
            if roots == initial + 1:
                second_wave = max(ended)
            begins = second_wave
        elif this.parent in first_child:
            begins = sampled[first_child[this.parent]]
        else:
            first_child[this.parent] = index
            begins = ended[this.parent]
        sampled.append(begins + turn)
        ended.append(sampled[-1] + this.info["latency"])
    return max(ended)


def best_batching(latencies: list[list[float]], one: float, everyone: float) -> float:
    """Seconds until all episodes have ended. latencies: by episode and turn. one, everyone: seconds of a turn that
    is sampled alone, and by all at once."""
    each = (everyone - one) / (len(latencies) - 1)
    now = ended = 0.0
    turns = [0] * len(latencies)
    left = dict.fromkeys(range(len(latencies)), 1.0)
    away: list[tuple[float, int]] = []
    while left or away:
        if left:
            pace = one + each * (len(left) - 1)
            until = now + min(left.values()) * pace
            if away:
                until = min(until, away[0][0])
            left = {episode: rest - (until - now) / pace for episode, rest in left.items()}
            now = until
        else:
            now = away[0][0]
        for episode in [e for e, rest in left.items() if rest < 1e-9]:
            del left[episode]
            back = now + latencies[episode][turns[episode]]
            turns[episode] += 1
            ended = max(ended, back)
            if turns[episode] < len(latencies[episode]):
                heapq.heappush(away, (back, episode))
        while away and away[0][0] <= now:
            left[heapq.heappop(away)[1]] = 1.0
    return ended


def tool_times(groups: list[Group]) -> list[list[float]]:
    """Of each episode, by turn."""
    return [[turn.info["latency"] for turn in path] for group in groups for path in group.trajectories()]


async def play_round(bench: Bench, latencies: list[float], branching: float, seed: int) -> dict[str, float]:
    """Seconds of everything once, by name."""
    alone, _ = await bench.managed(Independent(), 0.0, seed, prompts=1)
    turn = alone / TURNS
    took = {"alone": alone}
    took["generation"], _ = await bench.managed(Independent(), 0.0, seed)
    for ms in latencies:
        took[f"agentgym {ms:g}"], groups = await bench.managed(Independent(), ms / 1000, seed)
        took[f"critical path {ms:g}"] = max(critical_path(group, SAMPLES, turn) for group in groups)
        times = tool_times(groups)
        took[f"batching at its best {ms:g}"] = best_batching(times, turn, took["generation"] / TURNS)
        took[f"turn-synchronous {ms:g}"] = await bench.turn_synchronous(ms / 1000, seed)
        took[f"slowest tools {ms:g}"] = sum(max(turn) for turn in zip(*times, strict=True))
        took[f"slowest episode's tools {ms:g}"] = max(sum(episode) for episode in times)
    if branching:
        took["branching"], groups = await bench.managed(BRANCHING, branching / 1000, seed)
        took["branching, critical path"] = max(critical_path(group, 4, turn) for group in groups)
        took["branching, gated"], _ = await bench.managed(BRANCHING, branching / 1000, seed, gate=True)
    return took


def ratios(took: dict[str, float], latencies: list[float], branching: float) -> dict[str, float]:
    """Of one round."""
    found = {}
    for ms in latencies:
        ours, bound = took[f"agentgym {ms:g}"], max(took["generation"], took[f"critical path {ms:g}"])
        found[f"turn-synchronous / agentgym {ms:g}"] = took[f"turn-synchronous {ms:g}"] / ours
        found[f"latencies alone {ms:g}"] = took[f"slowest tools {ms:g}"] / took[f"slowest episode's tools {ms:g}"]
        found[f"agentgym / bound {ms:g}"] = ours / bound
        found[f"agentgym / batching at its best {ms:g}"] = ours / took[f"batching at its best {ms:g}"]
    if branching:
        found["branching, gated / branching"] = took["branching, gated"] / took["branching"]
        found["branching / critical path"] = took["branching"] / took["branching, critical path"]
    return found


async def measure(options: argparse.Namespace) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Seconds and ratios, by round."""
    engine, chat = make_engine(options.tokens), Chat(nano.tokenizer())
    seconds = []
    async with Services() as services:
        bench = Bench(engine, chat, services)
        await bench.managed(Independent(), 0.0, 0)  # warms up
        for seed in options.seeds:
            seconds.append(await play_round(bench, options.latencies, options.branching, seed))
    await engine.close()
    return seconds, [ratios(took, options.latencies, options.branching) for took in seconds]


def summarise(rounds: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Median and spread over the rounds."""
    columns = {name: [took[name] for took in rounds] for name in rounds[0]}
    return {
        name: {"median": statistics.median(column), "low": min(column), "high": max(column)}
        for name, column in columns.items()
    }


def show(title: str, rows: dict[str, dict[str, float]]) -> None:
    print(f"\n{title:40}{'median':>9}{'low':>9}{'high':>9}")
    for name, row in rows.items():
        print(f"{name:40}{row['median']:9.2f}{row['low']:9.2f}{row['high']:9.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latencies", type=float, nargs="+", default=[500, 50], help="medians in ms (500 50)")
    parser.add_argument("--branching", type=float, default=500, help="median in ms, 0: not measured (500)")
    parser.add_argument("--tokens", type=int, default=64, help="of a turn (64)")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="a round each (0 1 2 3 4)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    seconds, found = asyncio.run(measure(options))
    show("seconds, by median latency in ms", summarise(seconds))
    show("ratios within a round", summarise(found))
    if options.json:
        settings = {name: getattr(options, name) for name in ("tokens", "threads", "seeds", "branching")}
        versions = {name: distribution(name).version for name in ("torch", "transformers")}
        report = {**settings, "versions": versions, "seconds": seconds, "ratios": summarise(found)}
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
