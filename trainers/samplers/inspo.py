"""Tasks with instructions in front of them, and the instructions evolve with the policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym.config import Spec, build
from agentgym.ranges import above, at_least

if TYPE_CHECKING:
    from agentgym.env import TaskSource
    from agentgym.trainers.coevolution import InspoSampler


@dataclass(frozen=True, kw_only=True)
class Inspo:
    """INSPO (arXiv 2512.01945): a population of instructions, one drawn for each task and put before its question.

    instructions: the first ones; "" is none. population: how many there are at most.
    tau: temperature of the draw, p ~ exp(weight / tau). A weight follows what its groups earned beyond the other
    groups of their batch, so that what all have in common, and how hard questions are on average, cancels.
    rate: by which share of a step's difference; the first groups of an instruction count alike.
    trial: groups before an instruction is judged; until then it is drawn like the best one.
    renew_every: steps after which the worse half goes, as in successive halving, and `llm` (none: nobody) writes
    others. It is shown `shown` trajectories, those that earned least of the `replay` latest that earned little.
    max_length: characters of an instruction. drop_zero_spread: as in `uniform`.
    """

    instructions: list[str]
    llm: Spec | None = None
    population: int = 8
    tau: float = 0.05
    rate: float = 0.1
    trial: int = 8
    renew_every: int = 20
    replay: int = 64
    shown: int = 4
    max_length: int = 1000
    drop_zero_spread: bool = False

    def __post_init__(self) -> None:
        at_least(self, 1, "population", "trial", "renew_every", "replay", "shown", "max_length")
        above(self, 0, "tau")
        if not 0 < self.rate <= 1:
            raise ValueError(f"rate must be in (0, 1], not {self.rate}")
        if not 1 <= len(set(self.instructions)) == len(self.instructions) <= self.population:
            raise ValueError(
                f"instructions: from 1 to {self.population} (population) different ones are needed, "
                f"not {self.instructions!r}"
            )
        if self.llm is not None:
            build("llm", self.llm)  # raises ConfigError now, and not after the first steps

    def start(self, source: TaskSource, seed: int) -> InspoSampler:
        """A live sampler over `source`; the same seed proposes the same tasks under the same instructions."""
        from agentgym.trainers.coevolution import InspoSampler

        return InspoSampler(self, source, seed)
