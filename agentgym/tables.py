"""Results as tables, and episodes as text with a margin that says who speaks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentgym.runlog import ends
from agentgym.trainers.checkpoint import latest
from agentgym.transcript import Decode, Kind, Passage, facts, passages
from agentgym.types import Group

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from agentgym.plan import Hardware, Plan, Shape
    from agentgym.trainers.evaluate import Evaluation

STYLES: dict[Kind, str] = {"prompt": "dim", "policy": "green", "tool": "yellow", "dropped": "dim strike"}


def evaluation_table(result: Evaluation) -> Table:
    """One policy on one set of tasks."""
    from rich.table import Table

    table = Table(show_header=False)
    rows = {"pass@1 (success)": rate(result.success, result.interval)}
    rows |= {f"pass@{k}": f"{value:.3f}" for k, value in result.pass_at.items() if k > 1}
    rows |= {
        "reward": f"{result.reward:.3f}",
        "tool calls per episode": f"{result.tool_calls:.2f}",
        "tokens sampled per episode": f"{result.tokens:.1f}",
        "tasks": f"{result.tasks}",
        "episodes": f"{result.episodes}",
        "failed episodes (not counted)": f"{result.errors}",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def summary_table(evaluations: Mapping[str, Mapping[str, Any]], stages: Sequence[str]) -> Table:
    """Before and after: the evaluations that ended the first and the last of `stages`."""
    from rich.table import Table

    table = Table("", "evaluated at", "success [95 %]", "tool calls", "tokens")
    shown = ends(stages, evaluations)
    for name in shown:
        row = evaluations[name]
        table.add_row(
            "after" if name == shown[-1] else "before",
            f"end of {name} (step {row['step']})",
            rate(row["success"], row["interval"]),
            f"{row['tool_calls']:.2f}",
            f"{row['tokens']:.1f}",
        )
    return table


def places(path: Path) -> dict[str, Path]:
    """What a run left behind, and where."""
    checkpoint = latest(path / "checkpoints")
    return {
        "report": path / "report.html",
        **({"checkpoint": checkpoint} if checkpoint else {}),
        "rollouts": path / "rollouts",
        "metrics": path / "metrics.jsonl",
        "tensorboard": path / "tensorboard",
    }


def episode_tables(group: Group, decode: Decode | None = None) -> Iterator[RenderableType]:
    """Every trajectory of a group; turns that it shares with an earlier one are not repeated."""
    from rich.rule import Rule
    from rich.text import Text

    seen: set[int] = set()
    for number, leaf in enumerate(group.leaves(), 1):
        path = group.path(leaf)
        shared = len(seen.intersection(path))
        turns = [group.turns[i] for i in path]
        branch = f", branching after turn {shared}" if shared else ""
        yield Rule(Text(f"{group.id} · task {group.task.id} · episode {number}{branch}"), align="left")
        yield margin(passages(turns[shared:], decode))
        yield Text(facts(turns).line(), style="bold")
        yield Text(f"expected answer: {visible(group.task.answer)}")
        seen.update(path)


def margin(parts: list[Passage]) -> Table:
    """The passages line by line, each with its speaker before it."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    width = max((len(part.speaker) for part in parts), default=0)
    for part in parts:
        for line in part.text.strip("\n").split("\n"):
            style = STYLES[part.kind]
            table.add_row(Text(f"{part.speaker:{width}} │", style=style), Text(visible(line), style=style))
    return table


def visible(text: str) -> str:
    """Text that cannot drive a terminal: characters without a shape become escapes."""
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)


def rate(success: float, interval: tuple[float, float]) -> str:
    """A success rate with its 95 % interval."""
    return f"{success:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def plan_table(model: str, shape: Shape, plan: Plan, hardware: Hardware) -> Table:
    """What `agentgym plan` prints."""
    from rich.table import Table

    out = Table(show_header=False)
    learning = f", {shape.trained / 1e9:.3g} billion learn" if shape.trained != shape.parameters else ""
    out.add_row(model, f"{shape.parameters / 1e9:.3g} billion parameters{learning}")
    out.add_section()
    for name, size in plan.learner.items():
        out.add_row(f"learner: {name}", _gib(size))
    out.add_row("engine: weights", _gib(plan.engine) if plan.engine else "the learner's")
    if plan.fits:
        out.add_row("engine: keys and values", f"{_gib(plan.cache)}: {plan.sequences} whole sequences")
    elif plan.cache < 0:
        out.add_row("engine: keys and values", f"no room: {_gib(-plan.cache)} are lacking")
    else:
        out.add_row("engine: keys and values", f"{_gib(plan.cache)}: less than one whole sequence")
    verdict = "it fits" if plan.fits else f"IT DOES NOT FIT; less is taken by {', '.join(plan.lighter)}"
    out.add_row(f"of each {hardware.gpu}'s", f"{hardware.card.memory:g} GiB: {verdict}")
    if plan.fits:
        out.add_section()
        out.add_row("sampling", f"{plan.sampled:,.0f} tokens/s over {hardware.gpus} GPU(s)")
        out.add_row("learning", f"{plan.trained:,.0f} tokens/s")
        out.add_row("a step, whole completions", f"{plan.step:,.0f} s, without tools")
    return out


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
