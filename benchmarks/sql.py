"""Does a policy learn to ask databases that it has never seen, and does it live by what they say? Trains nano-sql.

    python benchmarks/sql.py results [--seeds 5] [--jobs 1] [--json FILE]
        recipe sql: success on schemas drawn after training with the results on, swapped and off, and by level
    python benchmarks/sql.py trees
        from the cold start of the same run, groups of 16: trajectories that fork their database after an answer
        (4 from the prompt, the others branch off) against 16 from the prompt; success once both have sampled
        equally many tokens

Every evaluation of `results` draws 256 questions about databases that are made with a seed taken from the
operating system after training ended.
"""

from __future__ import annotations

import random
import statistics
from pathlib import Path
from typing import get_args

import runs
from runs import Row

from agentgym.envs.ledgers.questions import Level
from agentgym.runlog import read_metrics
from agentgym.trainers.evaluate import succeeded

TREES = (
    "stages.rl.rollout={name='entropy_branching', initial_rollouts=4, branch_probability=0.5, entropy_weight=0.2}"
)
RECIPE = Path(__file__).parent.parent / "trainers" / "recipes" / "sql.toml"
GROUPS = ["group_size=16", "stages.rl.batch_size=8", "eval_every=5"]


def results(folder: Path, seed: int, words: list[str]) -> Row:
    """Train once; evaluate with the results on, swapped and off."""
    checkpoint, seconds = runs.train("sql", folder, f"sql{seed}", seed, words)
    fresh = random.SystemRandom().getrandbits(31)
    modes = ("on", "swapped", "off")
    played = {mode: runs.evaluate("sql", checkpoint, fresh, [f"env.tool_output={mode}"]) for mode in modes}
    by_level = {
        level: statistics.fmean(
            succeeded(group.turns[-1].info) for group in played["on"] if group.task.info["level"] == level
        )
        for level in get_args(Level)
    }
    return {
        "after the cold start": runs.after(folder / f"sql{seed}", "cold_start"),
        **{mode: runs.success(groups) for mode, groups in played.items()},
        **by_level,
        "seconds": seconds,
    }


def trees(folder: Path, seed: int, words: list[str]) -> Row:
    """From the cold start of `results`, both; the last evaluations before the tokens of who sampled fewer."""
    runs.train("sql", folder, f"sql{seed}", seed, words)
    first = next(row for row in read_metrics(folder / f"sql{seed}") if row.get("evaluation") == "cold_start")
    start = folder / f"sql{seed}" / "checkpoints" / f"step_{first['step']}"
    head, _, rl = RECIPE.read_text(encoding="utf-8").split("[[stages]]")
    alone = folder / "rl.toml"
    alone.write_text(f"{head}[[stages]]{rl}", encoding="utf-8")
    shared = ["-c", str(alone), *GROUPS, *words, f"model={start}", "env.prompt=plain"]
    for name, more in (("trees", [TREES]), ("flat", [])):
        runs.train("sql", folder, f"{name}{seed}", seed, [*shared, *more])
    curves = {name: curve(folder / f"{name}{seed}") for name in ("trees", "flat")}
    tokens = min(points[-1][0] for points in curves.values())
    reached = {
        name: [success for sampled, success in points if sampled <= tokens][-1] for name, points in curves.items()
    }
    return {"after the cold start": first["eval/success"], **reached, "tokens": tokens}


def curve(run: Path) -> list[tuple[float, float]]:
    """Tokens sampled so far, and the success then."""
    sampled, points = 0.0, []
    for row in read_metrics(run):
        sampled += row.get("tokens_sampled", 0)
        if "evaluation" in row:
            points.append((sampled, row["eval/success"]))
    return points


if __name__ == "__main__":
    runs.main(__doc__, "sql", {"results": results, "trees": trees})
