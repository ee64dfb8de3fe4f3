"""`agentgym train | eval | rollout | plan | check | serve | index | search | list | init | doctor`.

Each loads what it needs.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

import agentgym
from agentgym.errors import AgentgymError, ConfigError, UserError, did_you_mean
from agentgym.parallel import rank, size

if TYPE_CHECKING:
    from agentgym.checks.harness import CheckResult
    from agentgym.trainers.settings import Settings

T = TypeVar("T")
Command = Callable[..., None]


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(agentgym.__version__, prog_name="agentgym")
@click.pass_context
def app(context: click.Context) -> None:
    """A gym of multi-turn, tool-using environments for language-model agents, and its trainer."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _takes_settings(command: Command) -> Command:
    """`key=value` and `--key value` words, and TOML files."""
    files = click.option("-c", "--config", "files", multiple=True, type=Path, help="TOML file with settings.")
    words = click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[key=value]...")
    return files(words(command))


FREE = {"ignore_unknown_options": True}


@app.command(context_settings=FREE)
@_takes_settings
@click.option("--dry-run", is_flag=True, help="Print the resolved settings and stop: no model is looked for.")
def train(words: tuple[str, ...], files: tuple[Path, ...], dry_run: bool) -> None:
    """Train a policy: agentgym train env=retool seed=1 env.tasks=countdown. All that can be said: agentgym list
    settings"""
    settings = _settings(words, files)
    if dry_run:
        from agentgym.config import build, name_of, to_table, write_toml

        table = to_table(settings)
        table["env"] = {"name": name_of(settings.env), **to_table(build("env", settings.env))}
        click.echo(write_toml(table), nl=False)
        return
    from agentgym import run
    from agentgym.console import Console
    from agentgym.report import write_report

    started, first = time.monotonic(), rank() == 0
    console = Console(None if first else open(os.devnull, "w"))  # noqa: SIM115
    try:
        path, evaluations = _run(run.train(settings, console))
    finally:
        console.close()
    if first:
        write_report(path)
        console.summary(path, evaluations, time.monotonic() - started)


@app.command("eval", context_settings=FREE)
@_takes_settings
@click.option("-n", type=click.IntRange(min=1), help="Tasks; a file's rows if not given.")
@click.option("-k", "samples", type=click.IntRange(min=1), default=1, help="Samples per task, for pass@k.")
@click.option("--save", type=Path, help="Write the played episodes to this JSONL file.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def evaluate(
    words: tuple[str, ...], files: tuple[Path, ...], n: int | None, samples: int, save: Path | None, as_json: bool
) -> None:
    """Evaluate a policy: agentgym eval model=runs/mine/checkpoints/step_150 -k 4, or any with env=NAME"""
    settings = _settings(words, files, plays=True)
    from agentgym import run
    from agentgym.console import Console

    if save:
        _make_room(save)
    first = rank() == 0
    result, groups = _run(run.evaluate(settings, n, samples))
    if not first:
        return
    if save:
        from agentgym.runlog import write_forests

        write_forests(save, groups)
    if as_json:
        import dataclasses
        import json

        click.echo(json.dumps(dataclasses.asdict(result)))
    else:
        Console().evaluation(result)


@app.command(context_settings=FREE)
@_takes_settings
@click.option("-n", type=click.IntRange(min=1), default=1, help="Episodes.")
@click.option("--demo", is_flag=True, help="Let the environment's scripted policy play.")
def rollout(words: tuple[str, ...], files: tuple[Path, ...], n: int, demo: bool) -> None:
    """Play episodes and print them: agentgym rollout env=retool --demo"""
    settings = _settings(words, files, slips=not demo, plays=True)
    from agentgym import run
    from agentgym.console import Console

    groups, decode = _run(run.rollout(settings, n, demo))
    for group in groups:
        Console().episode(group, decode)


@app.command()
@click.argument("words", nargs=-1, metavar="env=NAME|sandbox=NAME|tool=NAME|model=NAME|engine=NAME [key=value]...")
def check(words: tuple[str, ...]) -> None:
    """Run the contracts on an environment, tool, sandbox (which is attacked as well) or engine, or see what a
    model's chat template makes of conversations: agentgym check env=retool | engine=vllm model=nano"""
    from agentgym import config, run
    from agentgym.check import attack_sandbox, check_env, check_model, check_sandbox, check_tool
    from agentgym.tooling.load import toolset
    from agentgym.trainers.checkpoint import model_path

    given = config.parse_overrides(words)
    known: dict[str, list[Any]] = {
        "env": [check_env],
        "sandbox": [check_sandbox, attack_sandbox],
        "tool": [check_tool],
        "model": [check_model],
    }
    kind = next(iter(given), "")
    if "engine" in given:
        return _show_checks(_run(run.check_engine(_settings(words, ()))))
    if len(given) != 1 or kind not in known:
        raise UserError("check takes one of env=NAME, sandbox=NAME, tool=NAME, model=NAME or engine=NAME")
    if kind == "model":
        component: Any = model_path(str(given[kind]))
    else:
        component = toolset(given[kind]) if kind == "tool" else config.build(kind, given[kind])
    results = [result for job in known[kind] for result in _run(job(component))]
    _show_checks(results)


def _show_checks(results: list[CheckResult]) -> None:
    """A line for each, and a heading with the count over each group. Exits with 1 where one does not hold."""
    from itertools import groupby

    for group, members in groupby(results, key=lambda result: result.group):
        rows = list(members)
        if group:
            click.echo(f"\n{group}: {sum(row.ok for row in rows)} of {len(rows)} attacks withstood")
        for row in rows:
            verdict = "skip" if row.skipped else "ok  " if row.ok else "FAIL"
            click.echo(f"{verdict} {row.name}: {row.detail}")
    if not all(result.ok for result in results):
        sys.exit(1)


@app.command(context_settings=FREE)
@_takes_settings
def plan(words: tuple[str, ...], files: tuple[Path, ...]) -> None:
    """Estimate memory and speed of a run: agentgym plan model=Qwen/Qwen2.5-7B-Instruct recipe=grpo_tcr gpus=8
    gpu=H200"""
    from agentgym import plan
    from agentgym.config import convert, parse_overrides
    from agentgym.console import Console
    from agentgym.run import resolve_settings
    from agentgym.trainers.checkpoint import model_path

    overrides = parse_overrides(words)
    told: dict[str, Any] = {key: overrides.pop(key) for key in ("gpus", "gpu") if key in overrides}
    hardware = convert(plan.Hardware, told, "plan")
    settings = resolve_settings(overrides, list(files))
    shape = plan.Shape.of(model_path(settings.model), settings.lora.rank)
    spec = settings.engine if isinstance(settings.engine, dict) else {"name": settings.engine}
    estimate = plan.make_plan(shape, settings, hardware.card, hardware.gpus, spec)
    Console().plan(settings.model, shape, estimate, hardware)
    if not estimate.fits:
        sys.exit(1)


@app.command(context_settings=FREE)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[key=value]...")
@click.option("--mcp", is_flag=True, help="Offer tools to MCP clients: over stdin and stdout, or HTTP with port=.")
def serve(words: tuple[str, ...], mcp: bool) -> None:
    """Serve a sandbox, tools, an environment or a retriever: agentgym serve sandbox=local | tools=python,my.py:f |
    env=retool | retriever=bm25s index=FOLDER"""
    from agentgym.config import parse_overrides
    from agentgym.serve import serving

    _run(serving(parse_overrides(words), mcp, click.echo))


@app.command(context_settings=FREE)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="CORPUS... [key=value]...")
def index(words: tuple[str, ...]) -> None:
    """Build a retriever's index, or verify it: agentgym index wiki.jsonl.gz retriever=bm25s index=wiki-index"""
    from agentgym import indexing

    indexing.index(words)


@app.command(context_settings=FREE)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[CORPUS]... QUERY [key=value]...")
@click.option("-k", type=click.IntRange(min=1), default=3, help="Passages.")
def search(words: tuple[str, ...], k: int) -> None:
    """Show what a retriever finds: agentgym search wiki.jsonl.gz "who wrote Emma" index=wiki-index"""
    from agentgym import indexing

    for hit in _run(indexing.search(words, k)):
        passage = hit.passage
        click.echo(f"{hit.score:.3f}  {passage.id}  {passage.title}\n    {passage.text}")


@app.command("list")
@click.argument("kind", required=False)
@click.argument("more", nargs=-1)
def list_components(kind: str | None, more: tuple[str, ...]) -> None:
    """What there is, what each of a kind is, and all about one: agentgym list | list losses | list loss ppo_clip.
    What a run can be told: agentgym list settings"""
    from agentgym import config
    from agentgym.described import about, described, settings
    from agentgym.recipes import recipes

    known = {name: {*config.names(name), *config.installed(name)} for name in config.KINDS}
    known["recipe"] = set(recipes())
    if kind is None:
        for name, members in known.items():
            click.echo(f"{name:9} {', '.join(sorted(members)) or '-'}")
        return
    if kind == "settings":
        return click.echo(settings())
    singular = next((name for name in known if kind in (name, f"{name}s", f"{name}es")), "")
    if not singular:
        raise UserError(f"list takes a kind, not {kind!r}: {did_you_mean(kind, {*known, 'settings'})}")
    if more:
        click.echo("\n\n".join(described(singular, name) for name in more))
    elif singular == "tool":
        from agentgym.tooling.catalog import catalog

        for entry in catalog():
            click.echo(f"{'ok  ' if entry.ok else 'FAIL'} {entry.name} ({entry.source}): {entry.about}")
    else:
        for name in sorted(known[singular]):
            click.echo(f"{name}: {about(singular, name)}")


@app.command(context_settings=FREE)
@click.argument("kind", metavar="tool|env|world")
@click.argument("name")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[key=value]...")
def init(kind: str, name: str, words: tuple[str, ...]) -> None:
    """Begin a plugin in a folder of its own: agentgym init tool unit-converter; or write an invented world with
    questions about it: agentgym init world FOLDER passages=100000 seed=1"""
    for file in _init(kind, name, words):
        click.echo(file)


def _init(kind: str, name: str, words: tuple[str, ...]) -> list[Path]:
    if kind == "world":
        from agentgym.config import convert, parse_overrides
        from agentgym.envs.tasks.write_world import WorldFiles

        return convert(WorldFiles, parse_overrides(words), "init world").write(Path(name))
    if words:
        raise UserError(f"init {kind} takes a name and nothing else, not {' '.join(words)!r}")
    from agentgym.scaffold.write import write_plugin

    return write_plugin(kind, name, Path())


@app.command()
def doctor() -> None:
    """What is installed, and what each absence costs."""
    from agentgym.doctor import main as diagnose

    sys.exit(diagnose())


def _settings(
    words: tuple[str, ...], files: tuple[Path, ...], *, slips: bool = True, plays: bool = False
) -> Settings:
    from agentgym.config import parse_overrides
    from agentgym.run import resolve_settings

    return resolve_settings(parse_overrides(words), list(files), slips=slips, plays=plays)


def _make_room(file: Path) -> None:
    """Find out that a file cannot be written before the work is done that is to go there."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--save {file}: {error.strerror}") from error
    if not os.access(file.parent, os.W_OK) or file.is_dir():
        raise ConfigError(f"--save {file}: not a file that can be written")


def _run(job: Coroutine[Any, Any, T]) -> T:
    """Run `job` to its end; SIGTERM ends it in order, as Ctrl-C does. A failed TaskGroup is told by its first real
    error."""
    import asyncio

    terminated = False

    async def endable() -> T:
        task = asyncio.current_task()

        def terminate() -> None:
            nonlocal terminated
            terminated = True
            if task:
                task.cancel()

        if size() == 1:  # a process of several may wait for others that are gone, and must not
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
        return await job

    try:
        return asyncio.run(endable())
    except asyncio.CancelledError as cancelled:
        if not terminated:  # by Ctrl-C, though something has put it off meanwhile
            raise KeyboardInterrupt from cancelled
        _say("terminated")
        sys.exit(128 + signal.SIGTERM)
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from group


def main() -> None:
    """The command line. Exit codes: 0 done, 1 failed, 2 wrong input, 130 interrupted, 143 terminated."""
    own = logging.getLogger("agentgym")
    own.handlers = [_Log()]
    own.setLevel(logging.INFO if rank() == 0 else logging.WARNING)
    try:
        code = app(prog_name="agentgym", standalone_mode=False)
    except click.ClickException as error:
        _say(f"error: {error.format_message()} (see agentgym --help)")
        code = 2
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted")
        code = 130
    except AgentgymError as error:
        _say(f"error: {error}")
        code = 2 if isinstance(error, UserError) else 1
    sys.exit(code)


class _Log(logging.Handler):
    """What agentgym logs. Libraries have ways of their own to say something."""

    def emit(self, record: logging.LogRecord) -> None:
        _say(self.format(record))


def _say(text: str) -> None:
    print(f"agentgym: {text}", file=sys.stderr)
