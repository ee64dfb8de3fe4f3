"""report.html: a run on one page that needs nothing else. Curves, evaluations, episodes, settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from agentgym.chart import Chart, Mark
from agentgym.config import read_toml
from agentgym.errors import UserError
from agentgym.runlog import ends, read_forests, read_metrics, stage_names, untaught
from agentgym.transcript import OF_THE_PLAYER, Passage, facts, is_demonstration, passages
from agentgym.types import Group, Turn
from agentgym.vocabulary import ENTITY, unescape

if TYPE_CHECKING:
    from agentgym.trainers.evaluate import Evaluation

Row = dict[str, Any]
EPISODES = 3  # of each kind, successes and failures, for each evaluation shown

SETTINGS = (
    "env",
    "model",
    "engine",
    "device",
    "seed",
    "batch_size",
    "group_size",
    "lr",
    "temperature",
    "max_completion_tokens",
)
STAGE_SETTINGS = ("rollout", "steps", "batch_size", "group_size", "lr", "signals", "credit", "sampler", "losses")


def write_report(run_dir: Path) -> Path:
    """Write and return run_dir/report.html; raises UserError when run_dir is not a run's directory."""
    for name in ("config.toml", "metrics.jsonl"):
        if not (run_dir / name).is_file():
            raise UserError(f"{run_dir} is not a run directory: it has no {name}")
    config, rows = read_toml(run_dir / "config.toml", "run"), read_metrics(run_dir)
    steps = [{**row, "seconds": row["seconds_rollout"] + row["seconds_update"]} for row in rows if "stage" in row]
    played = dict(_evaluations(run_dir, rows))
    template = Template(files("agentgym").joinpath("report.html").read_text(encoding="utf-8"))
    page = template.substitute(
        title=escape(run_dir.resolve().name),
        description=escape(str(config.get("description", ""))),
        headline=_headline(played, stage_names(run_dir)),
        evaluations=_evaluation_table(played),
        charts="".join(_charts(config, steps, played)) or "<p>No step was made yet.</p>",
        demonstrated=_demonstrated(config),
        totals=_totals(steps),
        episodes="".join(_episodes(played, stage_names(run_dir))) or "<p>No evaluation was made yet.</p>",
        settings=_settings(config, (run_dir / "config.toml").read_text(encoding="utf-8")),
    )
    file, draft = run_dir / "report.html", run_dir / ".report.partial"
    draft.write_text(page, encoding="utf-8")
    draft.replace(file)
    return file


def _evaluations(run_dir: Path, rows: Sequence[Row]) -> Iterator[tuple[str, tuple[int, Evaluation, list[Group]]]]:
    """name -> (step, result, episodes), counted anew from the recorded episodes."""
    from agentgym.trainers.evaluate import summarise

    for row in rows:
        if "evaluation" in row:
            groups = read_forests(run_dir / "rollouts" / f"eval_{row['evaluation']}.jsonl")
            yield row["evaluation"], (row["step"], summarise(groups), groups)


Played = Mapping[str, tuple[int, "Evaluation", list[Group]]]


def _headline(played: Played, stages: Sequence[str]) -> str:
    said = [
        f"<b>{100 * played[name][1].success:.1f}&nbsp;%</b> after {escape(name)}" for name in ends(stages, played)
    ]
    return f'<p class="headline">Success on held-out tasks: {", ".join(said)}</p>' if said else ""


def _evaluation_table(played: Played) -> str:
    heads = ("after", "step", "success", "95 % interval", "reward", "tool calls", "tokens", "episodes", "failed")
    body = [
        (
            name,
            f"{step}",
            f"{result.success:.3f}",
            f"{result.interval[0]:.3f}\u2009–\u2009{result.interval[1]:.3f}",
            f"{result.reward:.3f}",
            f"{result.tool_calls:.2f}",
            f"{result.tokens:.1f}",
            f"{result.episodes}",
            f"{result.errors}",
        )
        for name, (step, result, _) in played.items()
    ]
    return _table(heads, body) if body else "<p>No evaluation was made yet.</p>"


def _charts(config: Mapping[str, Any], steps: Sequence[Row], played: Played) -> Iterator[str]:
    """The figures, in a fixed order; what nothing was recorded of is left out."""
    if not steps:
        return
    stages = [(row["step"], row["stage"]) for row in steps]
    starts = [stage for i, stage in enumerate(stages) if i == 0 or stage[1] != stages[i - 1][1]]
    x_range = (float(steps[0]["step"]), float(steps[-1]["step"]))
    demos = _demo_stages(config)
    marks = {
        "success": [Mark(s, r.success, *r.interval, f"{n}: {r.success:.3f}") for n, (s, r, _) in played.items()],
        "tool_calls": [_mark(n, s, r.tool_calls) for n, (s, r, _) in played.items()],
        "completion_length": [_mark(n, s, r.tokens) for n, (s, r, _) in played.items()],
    }
    for key, title, include in (
        ("reward", "Reward", ()),
        ("success", "Success", (0, 1)),
        ("tool_calls", "Tool calls per episode", (0,)),
        ("entropy", "Entropy (nats per token)", (0,)),
        ("completion_length", "Completion length (tokens)", (0,)),
        ("grad_norm", "Gradient norm", (0,)),
        ("seconds", "Seconds per step", (0,)),
    ):
        told = [row for row in steps if key in row and not (key in OF_THE_PLAYER and row["stage"] in demos)]
        points = [(float(row["step"]), float(row[key])) for row in told]
        drawn = Chart(title, points, x_range, starts, marks.get(key, ()), include).svg()
        if drawn:
            yield f"<figure><figcaption>{title}</figcaption>{drawn}</figure>"


def _demo_stages(config: Mapping[str, Any]) -> list[str]:
    return [stage["name"] for stage in config.get("stages", []) if is_demonstration(stage["rollout"])]


def _demonstrated(config: Mapping[str, Any]) -> str:
    names = ", ".join(map(escape, _demo_stages(config)))
    why = "a scripted demonstrator plays there, so its reward, success and lengths are not the policy's."
    return f"Not drawn for {names}: {why}" if names else ""


def _mark(name: str, step: int, value: float) -> Mark:
    return Mark(step, value, value, value, f"{name}: {value:.2f}")


def _totals(steps: Sequence[Row]) -> str:
    if not steps:
        return ""
    seconds = sum(row["seconds"] for row in steps)
    episodes = sum(row["episodes"] for row in steps)
    failed, idle = sum(row["episodes"] * row["error_share"] for row in steps), untaught(steps)
    return (
        f"{len(steps)} steps in {seconds / 60:.1f} minutes of training; {episodes:,} episodes in their "
        f"batches, of which {failed:.0f} failed for reasons of machinery and taught nothing; "
        f"{steps[-1]['skipped_steps']} updates skipped{idle and '; ' + escape(idle)}."
    )


def _episodes(played: Played, stages: Sequence[str]) -> Iterator[str]:
    for name in ends(stages, played):
        yield f"<h3>After {escape(name)}</h3>"
        episodes = [(group, turns) for group in played[name][2] for turns in group.trajectories()]
        valid = [(g, t) for g, t in episodes if t[-1].outcome is not None and t[-1].outcome.is_valid]
        for success in (True, False):
            kind = [(g, t) for g, t in valid if facts(t).success is success]
            for number, (group, turns) in enumerate(kind[:EPISODES]):
                yield _episode(group, turns, is_open=success and number == 0)


def _episode(group: Group, turns: Sequence[Turn], *, is_open: bool) -> str:
    end = facts(turns)
    kind, verdict = ("good", "success") if end.success else ("bad", "failure")
    parts = [
        f'<div class="passage {part.kind}"><div class="speaker">{escape(part.speaker)}</div>'
        f'<div class="text">{_text(part)}</div></div>'
        for part in passages(turns)
    ]
    summary = (
        f'<span class="verdict {kind}">{verdict}</span> · task {escape(group.task.id)} · '
        f"reward {end.reward:.2f} · tool calls {end.tool_calls}"
    )
    closing = f"{escape(end.line())} · expected answer {escape(group.task.answer)}"
    return (
        f"<details{' open' if is_open else ''}><summary>{summary}</summary>{''.join(parts)}"
        f'<p class="facts">{closing}</p></details>'
    )


def _text(part: Passage) -> str:
    """A passage; in a tool's, the entities that stand for what it printed are marked and tell what that was."""
    text = part.text.strip("\n")
    if part.kind not in ("tool", "dropped"):
        return escape(text)
    shown, end = [], 0
    for entity in ENTITY.finditer(text):
        title = escape(f"printed as {unescape(entity[0])}")
        shown += [escape(text[end : entity.start()]), f'<mark title="{title}">{escape(entity[0])}</mark>']
        end = entity.end()
    return "".join([*shown, escape(text[end:])])


def _settings(config: Mapping[str, Any], text: str) -> str:
    rows = [(key, _short(config[key])) for key in SETTINGS if key in config]
    stages = [(s["name"], *(_short(s.get(key, "")) for key in STAGE_SETTINGS)) for s in config.get("stages", [])]
    return (
        f"{_table((), rows)}<h3>Stages</h3>{_table(('stage', *STAGE_SETTINGS), stages)}"
        f"<details><summary>config.toml</summary><pre>{escape(text)}</pre></details>"
    )


def _short(value: Any) -> str:
    """A setting in few words: a component is its name and its fields."""
    if isinstance(value, Mapping):
        fields = ", ".join(f"{k}={_short(v)}" for k, v in value.items() if k != "name")
        return f"{value['name']}({fields})" if fields and "name" in value else str(value.get("name", fields))
    return ", ".join(map(_short, value)) if isinstance(value, list) else str(value)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = f"<tr>{''.join(f'<th>{escape(h)}</th>' for h in heads)}</tr>" if heads else ""
    body = "".join(
        f"<tr><th>{escape(first)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in rest)}</tr>"
        for first, *rest in rows
    )
    return f'<div class="wide"><table>{head}{body}</table></div>'
