"""INSPO's live sampler: draws instructions with tasks, learns from groups which are good, renews them."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from agentgym.config import build
from agentgym.errors import LlmError
from agentgym.trainers.base import Scored, by_group, has_spread
from agentgym.trainers.population import Population
from agentgym.trainers.reflection import Failure, propose
from agentgym.trainers.rng_state import rng_state, set_rng_state
from agentgym.types import Message, Task

if TYPE_CHECKING:
    from agentgym.env import TaskSource
    from agentgym.llm import Llm
    from agentgym.services import Services
    from agentgym.trainers.samplers.inspo import Inspo

KEY = "instruction"
"""Where a task's info names the instruction it was posed under."""
TRANSCRIPT = 4000
"""Characters of a trajectory that are kept: its end, where the answer is."""

log = logging.getLogger(__name__)


class InspoSampler:
    """A `Sampler`; see `Inspo`. A renewal that fails leaves the better half as it is: no reward is concerned, and
    the next one tries again."""

    def __init__(self, config: Inspo, source: TaskSource, seed: int) -> None:
        self.config, self.source = config, source
        self.population = Population(config.instructions, tau=config.tau, rate=config.rate, trial=config.trial)
        self._rng = random.Random(seed)
        self._replay: list[Failure] = []
        self._counts = {"steps": 0, "pruned": 0, "proposed": 0, "accepted": 0, "failed_renewals": 0}

    def propose(self, n: int) -> list[Task]:
        """`n` training tasks, each under an instruction drawn for it."""
        tasks = self.source.draw(n, self._rng, "train")
        drawn = [self.population.draw(self._rng) for _ in tasks]
        return [
            replace(task, prompt=instruct(task.prompt, one.text), info={**task.info, KEY: one.id})
            for task, one in zip(tasks, drawn, strict=True)
        ]

    def admit(self, group: list[Scored]) -> float:
        """1, or 0 for a group without spread when those are dropped."""
        return float(has_spread(group) or not self.config.drop_zero_spread)

    async def observe(self, batch: list[Scored], services: Services) -> None:
        """Credit the instructions with what their groups earned, remember failures, and renew when it is time."""
        config = self.config
        llm: Llm | None = None
        if config.llm is not None:  # from the first step on, so that a missing key shows before hours of training
            llm = await services.get(build("llm", config.llm))
        groups = by_group(batch)
        earned = [fmean(scored.reward for scored in group) for group in groups]
        gains: dict[str, list[float]] = {}
        for group, own in zip(groups, earned, strict=True):
            others = (sum(earned) - own) / (len(earned) - 1) if len(earned) > 1 else own
            gains.setdefault(group[0].group.task.info[KEY], []).append(own - others)
        self.population.credit(gains)
        self._remember(groups)
        self._counts["steps"] += 1
        if self._counts["steps"] % config.renew_every == 0:
            await self._renew(llm)

    async def metrics(self, services: Services) -> dict[str, float]:
        """How likely each instruction is to be drawn, and what has become of others since the stage began."""
        shares = zip(self.population.members, self.population.probabilities(), strict=True)
        counts = {f"inspo/{name}": float(count) for name, count in self._counts.items() if name != "steps"}
        return {f"inspo/p_{member.id}": share for member, share in shares} | counts

    def state_dict(self) -> dict[str, Any]:
        """All that decides what is proposed next, as values JSON can hold."""
        return {
            "rng": rng_state(self._rng),
            "population": self.population.state_dict(),
            "replay": list(self._replay),
            "counts": dict(self._counts),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the sampler that `state` came from."""
        set_rng_state(self._rng, state["rng"])
        self.population.load_state_dict(state["population"])
        self._replay, self._counts = list(state["replay"]), dict(state["counts"])

    def _remember(self, groups: list[list[Scored]]) -> None:
        """The worst trajectory of each group, if it did worse than the batch on average; the latest come first."""
        average = fmean(scored.reward for group in groups for scored in group) if groups else 0.0
        texts = {member.id: member.text for member in self.population.members}
        for group in groups:
            worst = min(group, key=lambda scored: scored.reward)
            task = worst.group.task
            if worst.reward < average and task.info[KEY] in texts:
                said = "".join(part for turn in worst.turns[1:] for part in (turn.observation, turn.text))
                failure = Failure(
                    instruction=texts[task.info[KEY]],
                    question=worst.turns[0].observation[-TRANSCRIPT:],
                    transcript=(worst.turns[0].text + said)[-TRANSCRIPT:],
                    reward=worst.reward,
                )
                self._replay = [failure, *self._replay][: self.config.replay]

    async def _renew(self, llm: Llm | None) -> None:
        config, population = self.config, self.population
        for lost in population.prune(keep=(config.population + 1) // 2):
            self._counts["pruned"] += 1
            log.info("instruction %s (weight %+.3f) is pruned: %s", lost.id, lost.weight, lost.text)
        free = config.population - len(population.members)
        if llm is None or not free or not self._replay:
            return
        worst = sorted(self._replay, key=lambda failure: failure["reward"])[: config.shown]
        ranked = sorted(((m.text, m.weight) for m in population.members), key=lambda pair: -pair[1])
        try:
            proposed = await propose(llm, ranked, worst, free, config.max_length)
        except LlmError as error:
            self._counts["failed_renewals"] += 1
            log.warning("no new instructions: %s", error)
            return
        self._counts["proposed"] += len(proposed)
        self._accept(proposed, free)

    def _accept(self, proposed: Sequence[str], free: int) -> None:
        """Take in what is new and short enough; on trial, which tells more of it than any reading could."""
        for text in map(str.strip, proposed):
            if free and text and len(text) <= self.config.max_length and not self.population.knows(text):
                free -= 1
                self._counts["accepted"] += 1
                log.info("instruction %s is new: %s", self.population.add(text).id, text)


def instruct(prompt: str | list[Message], instruction: str) -> str | list[Message]:
    """The question after the instruction: in the text, or in the first of the user's messages."""
    if not instruction:
        return prompt
    if isinstance(prompt, str):
        return f"{instruction}\n\n{prompt}"
    first = next((i for i, message in enumerate(prompt) if message["role"] == "user"), 0)
    spoken: Message = {**prompt[first], "content": f"{instruction}\n\n{prompt[first]['content']}"}
    return [*prompt[:first], spoken, *prompt[first + 1 :]]
