"""What rollouts beside updates save where tools are slow: recipe retool, whose interpreter answers late.

    python benchmarks/staleness.py compare [--seeds 5] [--jobs 1] [--json FILE] [max_staleness=2 ...]
        From one cold start, 60 steps of RL with max_staleness=0 and with 2, while every call of the interpreter
        takes a log-normal time (median 0.5 s, sigma 1): seconds of playing and learning until five steps in a row
        (1,280 episodes) have a success of 0.95, seconds of all 60, and success on 256 fresh tasks in the end.
        Words change the second arm

Ratios of seconds have a 95 % interval over the seeds (Student's t on their logarithms), of those that got there.
"""

from __future__ import annotations

import asyncio
import math
import random
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import runs
from runs import Row

from agentgym.env import StepResult
from agentgym.envs.retool import Retool, RetoolEnv
from agentgym.runlog import read_metrics
from agentgym.services import Services

REACHED, TOGETHER = 0.95, 5
SOONER, FASTER = f"sooner at {REACHED}", "faster"
COLD = Path(__file__).parent.parent / "trainers" / "recipes" / "retool.toml"
SLOW = [f"env.name={__file__}:SlowRetool", "stages.rl.steps=60"]
T_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowRetool(Retool):
    """Turns after which the episode goes on take long. latency: seconds, the median. sigma: of its logarithm."""

    latency: float = 0.5
    sigma: float = 1.0

    def make(self, services: Services) -> SlowRetoolEnv:
        return SlowRetoolEnv(self, services)


class SlowRetoolEnv(RetoolEnv):
    """One episode."""

    config: SlowRetool

    async def act(self, action: str) -> StepResult:
        result = await RetoolEnv.act(self, action)
        if not (result.terminated or result.truncated):
            await asyncio.sleep(random.lognormvariate(math.log(self.config.latency), self.config.sigma))
        return result


def compare(folder: Path, seed: int, words: list[str]) -> Row:
    """Both arms of a seed."""
    head, cold, rl = COLD.read_text(encoding="utf-8").split("[[stages]]")
    for name, stage in (("cold", cold), ("rl", rl)):
        (folder / f"{name}{seed}.toml").write_text(f"{head}[[stages]]{stage}", encoding="utf-8")
    start, _ = runs.train("retool", folder, f"cold{seed}", seed, ["-c", str(folder / f"cold{seed}.toml")])
    shared = ["-c", str(folder / f"rl{seed}.toml"), f"model={start}", "env.prompt=plain", *SLOW]
    row: Row = {}
    fresh = random.SystemRandom().getrandbits(31)
    for arm, more in (("turns", ["max_staleness=0"]), ("beside", ["max_staleness=2", *words])):
        checkpoint, _ = runs.train("retool", folder, f"{arm}{seed}", seed, [*shared, *more])
        steps = [line for line in read_metrics(folder / f"{arm}{seed}") if "stage" in line]
        row[f"{arm}: to {REACHED}"], row[f"{arm}: seconds"] = reached(steps), sum(map(seconds, steps))
        row[f"{arm}: in the end"] = runs.success(runs.evaluate("retool", checkpoint, fresh, []))
        row[f"{arm}: engine idle"] = statistics.fmean(line["engine_idle"] for line in steps)
        row[f"{arm}: staleness"] = statistics.fmean(line["staleness"] for line in steps)
    row[SOONER] = row[f"turns: to {REACHED}"] / row[f"beside: to {REACHED}"]
    row[FASTER] = row["turns: seconds"] / row["beside: seconds"]
    return row


def seconds(step: dict[str, Any]) -> float:
    """Of playing and learning."""
    return float(step["seconds_rollout"] + step["seconds_update"])


def reached(steps: list[dict[str, Any]]) -> float:
    """Seconds until the last few steps had the success together; infinite where they never had."""
    spent = 0.0
    for number, step in enumerate(steps, 1):
        spent += seconds(step)
        last = [each["success"] for each in steps[max(0, number - TOGETHER) : number]]
        if len(last) == TOGETHER and statistics.fmean(last) >= REACHED:
            return spent
    return math.inf


def interval(rows: list[Row]) -> str:
    """The mean ratios and where they lie with 95 %."""
    return "\n".join(map(ratio, (SOONER, FASTER), ([row[name] for row in rows] for name in (SOONER, FASTER))))


def ratio(name: str, found: list[float]) -> str:
    """Of the seeds in which both arms got there."""
    logs = [math.log(value) for value in found if 0 < value < math.inf]
    among = f"{len(logs)} of {len(found)} seeds"
    if len(logs) < 2:
        return f"{name}: {', '.join(f'{math.exp(value):.2f}' for value in logs)} ({among})"
    mean, half = statistics.fmean(logs), T_95[len(logs) - 1] * statistics.stdev(logs) / math.sqrt(len(logs))
    low, high = math.exp(mean - half), math.exp(mean + half)
    return f"{name}: {math.exp(mean):.2f} times ({low:.2f} to {high:.2f}), {among}"


if __name__ == "__main__":
    runs.main(__doc__, "staleness", {"compare": compare}, interval)
