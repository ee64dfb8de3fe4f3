"""What a person sees of a run: a live display on a terminal, plain lines in a pipe, tables at the end."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from agentgym.runlog import read_metrics, stage_names, untaught
from agentgym.transcript import OF_THE_PLAYER, Decode, is_demonstration

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from agentgym.plan import Hardware, Plan, Shape
    from agentgym.trainers.evaluate import Evaluation
    from agentgym.trainers.settings import Stage
    from agentgym.trainers.trainer import Watched
    from agentgym.types import Group

FIELDS = {
    "reward": ("reward", "{:.2f}"),
    "success": ("success", "{:.2f}"),
    "tool_calls": ("tool calls", "{:.1f}"),
    "malformed_calls": ("malformed", "{:.2f}"),
    "completion_length": ("completion", "{:.0f} tokens"),
    "forks": ("forks per group", "{:.1f}"),
    "forks_refused": ("forks refused", "{}"),
    "forks_on_top3": ("on three trajectories", "{:.0%}"),
    "sampled_share": ("tokens sampled of tokens used", "{:.0%}"),
    "tool_calls_saved": ("tool calls saved", "{:.0%}"),
    "entropy": ("entropy", "{:.3f}"),
    "loss": ("loss", "{:.3g}"),
    "tokens_per_second": ("speed", "{:,.0f} tokens/s"),
    "frac_reward_zero_std": ("groups without spread", "{:.0%}"),
    "error_share": ("errors", "{:.0%}"),
}
"""Metric -> how it is called and written. A step without a metric leaves it out."""

PLAIN_EVERY = 10  # steps between lines where no live display is possible
PLAIN_WIDTH = 120
HISTORY = 32  # steps in a sparkline


class Console:
    """A trainer's reporter, and the printer of results. `file`: stdout unless told otherwise."""

    def __init__(self, file: TextIO | None = None) -> None:
        from rich.console import Console as Rich

        file = file or sys.stdout
        self.live = file.isatty() and os.environ.get("TERM") != "dumb"
        self.out = Rich(
            file=file,
            force_terminal=self.live,
            width=None if self.live else PLAIN_WIDTH,
            markup=False,
            emoji=False,
            highlight=False,
        )
        self._watched: tuple[Watched, ...] = ()
        self._display: Live | None = None
        self._stage, self._steps, self._first, self._done = "", 0, 0, 0
        self._started = self._last = time.monotonic()
        self._metrics: Mapping[str, Any] = {}
        self._hidden: tuple[str, ...] = ()
        self._history: dict[str, deque[float]] = {}

    def watch(self, *managers: Watched) -> None:
        """Show the oldest episode that these have running."""
        self._watched = managers

    def stage(self, stage: Stage, steps: int, done: int) -> None:
        """A stage of `steps` steps begins; `done` of them were made before the run was resumed."""
        self.close()
        self._stage, self._steps, self._first, self._done = stage.name, steps, done, done
        self._started = self._last = time.monotonic()
        self._metrics = {}
        # A demonstrator's success would pass for the policy's.
        self._hidden = OF_THE_PLAYER if is_demonstration(stage.rollout) else ()
        self._history = {name: deque(maxlen=HISTORY) for name in ("reward", "success")}
        resumed = f", resumed at step {done}" if done else ""
        self._line(f"stage {stage.name}: up to {steps} steps{resumed}")
        if self.live:
            from rich.live import Live

            self._display = Live(
                get_renderable=self._render, console=self.out, refresh_per_second=2, transient=True
            )
            self._display.start()

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        """A step of the stage is done; `step` counts from the run's beginning."""
        self._metrics = {k: v for k, v in metrics.items() if k not in self._hidden}
        self._last = time.monotonic()
        if self._done == self._first:
            self._started = self._last
        self._done += 1
        for name, values in self._history.items():
            if name in self._metrics:
                values.append(metrics[name])
        told = self._done - self._first == 1 or self._done % PLAIN_EVERY == 0 or self._done == self._steps
        if not self.live and told:
            self._progress()

    def evaluated(self, name: str, step: int, result: Evaluation) -> None:
        """The policy was evaluated after `step` steps of the run."""
        low, high = result.interval
        self._line(
            f"evaluation {name} at step {step}: success {result.success:.2f} [{low:.2f}, {high:.2f}]  "
            f"tool calls {result.tool_calls:.1f}  {result.tokens:.0f} tokens  errors {result.errors}"
        )

    def close(self) -> None:
        """End the live display, leaving its last numbers, and give the terminal back; may be called twice."""
        if self._display is not None:
            display, self._display = self._display, None
            display.stop()
            self._progress()

    def evaluation(self, result: Evaluation) -> None:
        """Print the table of `agentgym eval`."""
        from agentgym.tables import evaluation_table

        self._print(evaluation_table(result))

    def plan(self, model: str, shape: Shape, plan: Plan, hardware: Hardware) -> None:
        """Print the table of `agentgym plan`."""
        from agentgym.tables import plan_table

        self._print(plan_table(model, shape, plan, hardware))

    def summary(self, path: Path, evaluations: Mapping[str, Mapping[str, Any]], seconds: float) -> None:
        """Print what a finished run achieved and where everything is."""
        from agentgym.tables import places, summary_table

        self._print(summary_table(evaluations, stage_names(path)))
        idle = untaught(read_metrics(path))
        self._line(f"finished in {clock(seconds)}{idle and '; ' + idle}")
        for name, place in places(path).items():
            self._line(f"  {name:12}{place}")

    def episode(self, group: Group, decode: Decode | None = None) -> None:
        """Print a group's episodes. `decode` reads contexts recorded as ids only."""
        from agentgym.tables import episode_tables

        for part in episode_tables(group, decode):
            self._print(part)

    def _progress(self) -> None:
        words = [f"{self._stage} {self._done}/{self._steps}", *describe(self._metrics), self._time_left()]
        self._line("  ".join(word for word in words if word))

    def _line(self, text: str) -> None:
        self.out.print(text, soft_wrap=True)

    def _print(self, renderable: RenderableType) -> None:
        self.out.print(renderable)

    def _render(self) -> RenderableType:
        """The live display, drawn by rich's thread."""
        from rich.columns import Columns
        from rich.console import Group as Lines
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            Text(f"{self._stage} {self._done}/{self._steps}", style="bold"),
            ProgressBar(total=self._steps, completed=self._done, width=32),
            self._time_left(),
        )
        parts = [part for part in (*describe(self._metrics), self._oldest()) if part]
        numbers = Columns([Text(part, no_wrap=True) for part in parts], padding=(0, 3))
        curves = [Text(f"{name:8} {spark(list(v))}", style="cyan") for name, v in self._history.items() if v]
        return Lines(bar, numbers, *curves)

    def _oldest(self) -> str:
        episodes = [found for manager in self._watched if (found := manager.oldest())]
        if not episodes:
            return ""
        name, age = max(episodes, key=lambda episode: episode[1])
        return f"oldest rollout {name} ({age:.0f} s)"

    def _time_left(self) -> str:
        """From the mean of this stage's steps but the first, which may have waited for a pool or a compiler."""
        made = self._done - self._first - 1
        if made < 1:
            return ""
        each = (self._last - self._started) / made
        return f"{each:.1f} s/step, {clock(each * (self._steps - self._done))} left"


def describe(metrics: Mapping[str, Any]) -> list[str]:
    """A step's metrics as words; says so when the step taught nothing."""
    shown = {key: value for key, value in metrics.items() if key in FIELDS and (value or key != "forks")}
    words = [f"{label} {form.format(shown[key])}" for key, (label, form) in FIELDS.items() if key in shown]
    if metrics and "grad_norm" not in metrics:
        words.append("no update: no group to learn from")
    if metrics.get("skipped_steps"):
        words.append(f"updates skipped {metrics['skipped_steps']}")
    return words


def clock(seconds: float) -> str:
    """h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def spark(values: list[float]) -> str:
    """The values as bars, from their lowest to their highest."""
    low, high = min(values), max(values)
    return "".join("▁▂▃▄▅▆▇█"[int(7 * (v - low) / (high - low)) if high > low else 0] for v in values)
