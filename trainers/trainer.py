"""The loop: propose, play, score, credit, learn, publish. It knows no algorithm; stages say what to plug in."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol, TypeVar, cast

from agentgym.engine import Engine, SharesWeights
from agentgym.engines.agreement import dtype_of
from agentgym.env import TaskSource
from agentgym.errors import TooManyErrors
from agentgym.parallel import ALONE, Peers
from agentgym.rollout.manager import Manager
from agentgym.runlog import Log
from agentgym.trainers import checkpoint
from agentgym.trainers.ahead import Ahead
from agentgym.trainers.base import LossTerm, Scored, by_group
from agentgym.trainers.describe import describe
from agentgym.trainers.evaluate import Evaluation, evaluate
from agentgym.trainers.learner import Learner
from agentgym.trainers.mismatch import divergence, staleness, warn
from agentgym.trainers.plays import Plays
from agentgym.trainers.reduce import token_weights
from agentgym.trainers.settings import Settings, Stage

COUNTS = ("trained_tokens", "computed_tokens")
"""Metrics of an update that count."""


T = TypeVar("T")

logger = logging.getLogger("agentgym")


class Watched(Protocol):
    """What can say which of its episodes has run longest, and for how many seconds; a rollout manager does."""

    def oldest(self) -> tuple[str, float] | None: ...


class Reporter(Protocol):
    """Who is told how the run goes."""

    def watch(self, *managers: Watched) -> None: ...

    def stage(self, stage: Stage, steps: int, done: int) -> None: ...

    def step(self, step: int, metrics: dict[str, Any]) -> None: ...

    def evaluated(self, name: str, step: int, result: Evaluation) -> None: ...


@dataclass(slots=True)
class Parts:
    """The live pieces a trainer drives; `run.py` builds them."""

    model: Any
    tokenizer: Any
    engine: Engine
    learner: Learner
    manager: Manager
    eval_manager: Manager
    source: TaskSource
    log: Log
    reporter: Reporter
    peers: Peers = ALONE


@dataclass(slots=True)
class Progress:
    """Where a run stands; what a checkpoint remembers beside tensors."""

    step: int = 0
    stage: int = 0
    step_in_stage: int = 0
    reference: str = ""
    sampler: dict[str, Any] = field(default_factory=dict)
    evaluations: dict[str, Any] = field(default_factory=dict)


class Trainer:
    """Runs a recipe's stages from wherever the run directory says it stopped."""

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self.settings, self.parts, self.peers = settings, parts, parts.peers
        self.progress = Progress()
        self._warned = False
        self._saved: int | None = None  # the step whose weights the newest checkpoint has
        parts.reporter.watch(parts.manager, parts.eval_manager)

    async def train(self) -> dict[str, Any]:
        """All stages; returns the evaluations by name. When it is cancelled, or too many episodes fail, the last
        whole step is saved."""
        await self._restore()
        try:
            for index in range(self.progress.stage, len(self.settings.stages)):
                await self._stage(self.settings.stages[index])
                self.progress.stage, self.progress.step_in_stage = index + 1, 0
                self.progress.sampler = {}
                await self._save()
        except (asyncio.CancelledError, TooManyErrors):  # between steps or during rollouts, never within an update
            if self.peers.size == 1:  # others may be elsewhere: they go on from the last checkpoint
                await self._save()
            newest = checkpoint.latest(self.parts.log.checkpoints)
            where = newest.name if newest else "the beginning: see save_every"
            logger.info("resume=true run_name=%s goes on from %s", self.parts.log.checkpoints.parent.name, where)
            raise
        return self.progress.evaluations

    async def _stage(self, stage: Stage) -> None:
        settings, progress = self.settings, self.progress
        steps = stage.steps or settings.max_steps
        self.parts.reporter.stage(stage, steps, progress.step_in_stage)
        asked = (self._appraise, self._recompute, self.peers)
        play = Plays(stage, settings, self.parts.manager, self.parts.source, *asked)
        if progress.sampler:
            play.sampler.load_state_dict(progress.sampler)
        if any(term.needs_reference and term.coef for term in play.losses):
            await self._fix_reference()
        before = progress.step - progress.step_in_stage
        ahead = 0 if stage.pool else settings.max_staleness
        batches = Ahead(lambda number: play.groups(before + number, number), steps, ahead)
        try:
            while progress.step_in_stage < steps:
                metrics = await self._step(stage, play, batches)
                progress.step += 1
                progress.step_in_stage += 1
                progress.sampler = play.sampler.state_dict()
                self.parts.log.metrics(progress.step, {"stage": stage.name, **metrics})
                self.parts.reporter.step(progress.step, metrics)
                if settings.eval_every and progress.step % settings.eval_every == 0:
                    await self._evaluate(f"step_{progress.step}")
                if settings.save_every and progress.step % settings.save_every == 0:
                    await self._save()
        finally:
            await batches.close()
        await self._save()  # evaluating may fail
        await self._evaluate(stage.name)

    async def _appraise(self, batch: list[Scored]) -> None:
        await self._beside(self.parts.learner.appraise, batch, self.settings.microbatch_tokens)

    async def _recompute(self, batch: list[Scored]) -> None:
        await self._beside(self.parts.learner.recompute, batch, self.settings.microbatch_tokens)

    async def _beside(self, job: Callable[..., T], *arguments: Any) -> T:
        """What `job` gives, uninterrupted. Episodes go on meanwhile, as far as they come without an engine that
        shares the learner's weights."""
        if self.parts.engine.shares_weights and not self.settings.max_staleness:  # there are none
            return job(*arguments)
        with self._held():
            return await to_the_end(asyncio.to_thread(job, *arguments))

    @contextmanager
    def _held(self) -> Iterator[None]:
        """An engine that shares the learner's weights stands still, and so do episodes' deadlines."""
        if not (self.parts.engine.shares_weights and self.settings.max_staleness):
            yield
            return
        engine = cast(SharesWeights, self.parts.engine)
        with engine.held(), self.parts.manager.deadlines_stopped():
            yield

    async def _fix_reference(self) -> None:
        """The losses' reference is the policy as the stage found it, also after a resume."""
        progress, learner = self.progress, self.parts.learner
        if progress.step_in_stage == 0:
            progress.reference = f"step_{progress.step}"
            await self._save()
            learner.keep_reference()
        else:
            learner.restore_reference(checkpoint.load(self.parts.log.checkpoints / progress.reference)[0])

    async def _step(self, stage: Stage, play: Plays, batches: Ahead) -> dict[str, Any]:
        started, sampled = time.monotonic(), self.parts.manager.sampling.seconds
        if stage.pool and not play.pool:
            self.parts.log.forests(f"pool_{stage.name}", (await play.fill())[:64])
        groups = await batches.groups(self.progress.step_in_stage)
        if not stage.pool:
            self.parts.log.forests(f"step_{self.progress.step + 1}", groups)
        batch = await play.score(groups)
        played = time.monotonic()
        metrics = describe(groups, batch) | await play.metrics()
        metrics |= staleness(batch, self.parts.engine.version) | divergence(batch)
        if any(scored.weight and scored.length for scored in batch):
            metrics |= await to_the_end(self._update(stage, play.losses, batch))
            self._warned = self._warned or warn(metrics, self._dtypes())
        learned = time.monotonic()
        metrics |= {"seconds_rollout": played - started, "seconds_update": learned - played}
        busy = self.parts.manager.sampling.seconds - sampled
        metrics["engine_idle"] = max(0.0, 1 - busy / (learned - started))
        tokens = sum(len(turn.action) + len(turn.context) for g in groups for turn in g.turns)
        metrics |= {"tokens_per_second": tokens / (learned - started), "skipped_steps": self.parts.learner.skipped}
        return metrics

    async def _update(self, stage: Stage, losses: Sequence[LossTerm], batch: list[Scored]) -> dict[str, float]:
        """Learn and publish."""
        engine = self.parts.engine
        with self._held():
            metrics = await self._beside(self._learn, stage, losses, batch)
            learned = time.monotonic()
            await engine.load(self.parts.model, engine.version + 1)
        return metrics | {"seconds_publish": time.monotonic() - learned}

    def _learn(self, stage: Stage, losses: Sequence[LossTerm], batch: list[Scored]) -> dict[str, float]:
        settings = self.settings
        self.parts.learner.seed(hash((settings.seed, self.progress.step)))
        lr = (stage.lr or settings.lr) * self._lr_factor(stage)
        taken: list[dict[str, float]] = []
        for part in _split(batch, settings.minibatches):
            if not any(s.weight and s.length for s in part):
                continue
            weights = token_weights(
                [s.length for s in part], [s.weight for s in part], stage.reduction, stage.constant_length
            )
            taken.append(
                self.parts.learner.update(
                    part, weights, losses, lr=lr, microbatch_tokens=settings.microbatch_tokens
                )
            )
        if not self.parts.engine.shares_weights:
            self.parts.learner.give_back()
        first = taken[0].get("approx_kl")  # before the first step: between the sampler and the learner
        measured = {"sampler_kl": first} if first is not None and batch[0].proximal is None else {}
        return _together(taken) | measured

    def _dtypes(self) -> tuple[str, str]:
        """The learner's and the engine's."""
        own = dtype_of(self.parts.model)
        engine = self.settings.engine
        said = engine.get("dtype", "auto") if isinstance(engine, dict) else "auto"
        return own, own if said == "auto" else str(said)

    def _lr_factor(self, stage: Stage) -> float:
        """The schedule at the current step of the stage, in (0, 1]."""
        done, steps = self.progress.step_in_stage, stage.steps or self.settings.max_steps
        warmup = min(1.0, (done + 1) / (self.settings.warmup_steps or 1))
        return warmup * (1 - done / steps if stage.lr_schedule == "linear" else 1.0)

    async def _evaluate(self, name: str) -> None:
        settings, step = self.settings, self.progress.step
        tasks = self.parts.source.draw(settings.eval_tasks, random.Random(f"eval {settings.seed}"), "eval")
        result, groups = await evaluate(self.parts.eval_manager, tasks, settings.seed, prefix=f"eval-{name}")
        self.parts.log.forests(f"eval_{name}", groups)
        row = {"success": result.success, "interval": list(result.interval), "tool_calls": result.tool_calls}
        self.progress.evaluations[name] = {**row, "step": step, "tokens": result.tokens}
        scores = {
            "eval/success": result.success,
            "eval/tool_calls": result.tool_calls,
            "eval/tokens": result.tokens,
        }
        self.parts.log.metrics(step, {"evaluation": name, **scores, "eval/errors": result.errors})
        self.parts.reporter.evaluated(name, step, result)

    async def _restore(self) -> None:
        here = checkpoint.latest(self.parts.log.checkpoints) if self.peers.first else None
        found = await self.peers.agree("checkpoint", here)
        if found is None:
            if self.settings.resume:
                where = self.parts.log.checkpoints
                logger.info("resume: %s has no checkpoint; the run begins at its beginning", where)
            self.parts.log.forget_after(0)
            return
        tensors, state = checkpoint.load(found)
        self.parts.learner.load_state_tensors(tensors)
        await self.parts.engine.load(self.parts.model, state["version"])
        self.parts.learner.skipped = state["skipped"]
        self.progress = Progress(**state["progress"])
        if self.progress.stage == len(self.settings.stages):
            run = self.parts.log.checkpoints.parent
            logger.info("%s is over, with all of its stages; model=%s begins another from its weights", run, run)
        else:
            logger.info("the run goes on from %s", found.name)
        self._saved = self.progress.step
        self.parts.log.forget_after(state["rows"])

    async def _save(self) -> None:
        """A checkpoint; only the state of the newest one, where that has the weights of this step already."""
        progress = self.progress
        state = {
            "progress": {name: getattr(progress, name) for name in Progress.__dataclass_fields__},
            "version": self.parts.engine.version,
            "skipped": self.parts.learner.skipped,
            "rows": self.parts.log.rows,
        }
        folder, name = self.parts.log.checkpoints, f"step_{progress.step}"
        if self._saved == progress.step:
            if self.peers.first:
                checkpoint.amend(folder / name, state)
            return
        await self._beside(self._write, folder, name, state)
        self._saved = progress.step

    def _write(self, folder: Path, name: str, state: dict[str, Any]) -> None:
        tensors = self.parts.learner.state_tensors()
        if self.peers.first:
            checkpoint.save(folder, name, self.parts.model, self.parts.tokenizer, tensors, state)
            if self.settings.keep_checkpoints:
                checkpoint.prune(folder, self.settings.keep_checkpoints, [self.progress.reference])


async def to_the_end(job: Coroutine[Any, Any, T]) -> T:
    """The result of `job`, which is not interrupted; a cancellation that came meanwhile comes after it."""
    running = asyncio.ensure_future(job)
    cancelled = False
    while not running.done():
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled and (task := asyncio.current_task()):
        task.cancel()
    return running.result()


def _split(batch: list[Scored], parts: int) -> list[list[Scored]]:
    """The batch in `parts` pieces of whole groups."""
    groups = by_group(batch)
    pieces = [groups[i::parts] for i in range(parts)]
    return [[scored for group in piece for scored in group] for piece in pieces if piece]


def _together(updates: Sequence[dict[str, float]]) -> dict[str, float]:
    """The metrics of a step's updates as one: tokens add up, all else is a mean over the updates."""
    return {name: (sum if name in COUNTS else fmean)(update[name] for update in updates) for name in updates[0]}
