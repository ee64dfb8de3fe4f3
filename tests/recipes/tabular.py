"""A world so small that all that can happen in it can be listed: a policy with a logit for each token in each
state.

Letters are tokens. a, b: thoughts. s: ends the turn, and the world says o. A: begins the answer, which is r
(right), w or v (wrong). What is not over after LIMIT letters is cut off. A state is what the policy has said so
far.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agentgym.engine import Sample, Sampling
from agentgym.env import Env, StepResult
from agentgym.services import Services
from agentgym.types import Task, Tokens

LETTERS = "absArwv"
OTHERS = "oP"  # what the policy never says
LIMIT = 5
WRONG = ("Aw", "Av", "Aaw", "Aav")
STOP = ("s", "r", "w", "v")


def allowed(state: str) -> str:
    return "rwv" if state.endswith("Aa") else "arwv" if state.endswith("A") else "absA"


def is_over(state: str) -> bool:
    return state[-1:] in tuple("rwv") or len(state) == LIMIT


class Policy:
    """theta: a logit for each state and letter."""

    def __init__(self, seed: int) -> None:
        states, seen = [""], [""]
        for state in states:
            new = [state + letter for letter in allowed(state)]
            states += [s for s in new if not is_over(s)]
            seen += new
        self.states = {state: row for row, state in enumerate(states)}
        rng = torch.Generator().manual_seed(seed)
        self.theta = torch.randn(len(states), len(LETTERS), generator=rng, dtype=torch.float64, requires_grad=True)
        self.ends = [state for state in seen if state and is_over(state)]
        self._table = {state: self.distribution(state).detach().tolist() for state in states}

    def distribution(self, state: str) -> Tensor:
        mask = torch.tensor([0.0 if letter in allowed(state) else -math.inf for letter in LETTERS])
        return torch.softmax(self.theta[self.states[state]] + mask, -1)

    def logprob(self, end: str, start: str = "") -> float:
        """Of saying the rest of `end` after `start`."""
        steps = range(len(start), len(end))
        return math.fsum(math.log(self._table[end[:i]][LETTERS.index(end[i])]) for i in steps)

    def score_gradient(self, end: str) -> Tensor:
        """Of the log-probability of `end`, by theta: for each state on the way, one-hot less distribution."""
        gradient = torch.zeros_like(self.theta)
        for i, letter in enumerate(end):
            row = self.states[end[:i]]
            gradient[row] -= torch.tensor(self._table[end[:i]], dtype=torch.float64)
            gradient[row, LETTERS.index(letter)] += 1.0
        return gradient

    def true_gradient(self) -> Tensor:
        """Of the expected reward, by differentiating the sum over all that can happen."""
        total = torch.zeros((), dtype=torch.float64)
        for end in self.ends:
            if reward(end):
                steps = [self.distribution(end[:i])[LETTERS.index(end[i])] for i in range(len(end))]
                total = total + reward(end) * torch.stack(steps).prod()
        (gradient,) = torch.autograd.grad(total, self.theta)
        return gradient

    def letter(self, state: str, rng: random.Random) -> str:
        return rng.choices(LETTERS, self._table[state])[0]


def reward(end: str) -> float:
    """Right is right; the sooner, the better."""
    return 1.0 + 0.5 * (LIMIT - len(end)) if end.endswith("r") else 0.0


def is_wrong(end: str) -> bool:
    return end.endswith(WRONG)


def ids_of(text: str) -> tuple[int, ...]:
    return tuple((LETTERS + OTHERS).index(letter) for letter in text)


def text_of(ids: Sequence[int]) -> str:
    return "".join((LETTERS + OTHERS)[i] for i in ids)


class Letters:
    """A renderer."""

    def open(self, messages: Any) -> tuple[int, ...]:
        return ids_of("P")

    def extend(self, observation: Any, *, ended: bool = True) -> tuple[int, ...]:
        return ids_of(observation)

    def speak(self, text: str, *, end: bool) -> tuple[int, ...]:
        return ids_of(text)

    def decode(self, ids: Sequence[int]) -> str:
        return text_of(ids)


@dataclass
class Tabular:
    """An engine."""

    policy: Policy

    version = 0
    max_len = 100
    vocab_size = len(LETTERS)

    async def sample(self, ids: Sequence[int], sampling: Sampling, **_: Any) -> Sample:
        rng, state, said = random.Random(sampling.seed), said_in(ids), ""
        while len(said) < sampling.max_tokens and said[-1:] not in STOP:
            said += self.policy.letter(state + said, rng)
        logprobs = tuple(self.policy.logprob(state + said[: i + 1], state + said[:i]) for i in range(len(said)))
        finish = "stop" if said[-1:] in STOP else "length"
        return Sample(Tokens(ids_of(said), logprobs, (0.0,) * len(said), (0,) * len(said)), said, finish)

    async def score(self, ids: Sequence[int]) -> Tokens:
        logprobs = []
        for i, token in enumerate(ids):
            before, now = said_in(ids[:i]), said_in(ids[: i + 1])
            logprobs.append(self.policy.logprob(now, before) if token < len(LETTERS) else 0.0)
        return Tokens(tuple(ids), tuple(logprobs), (0.0,) * len(ids), (0,) * len(ids))

    def release(self, session: str) -> None:
        """Nothing is kept."""


def said_in(ids: Sequence[int]) -> str:
    """The state after these ids."""
    return text_of([i for i in ids if i < len(LETTERS)])


@dataclass(frozen=True)
class Quiz:
    """The world's config. moody: it answers each time with something else."""

    moody: Callable[[], str] | None = None

    def make(self, services: Services) -> Env:
        return QuizEnv(self, services)

    def source(self) -> Any:
        raise NotImplementedError


class QuizEnv(Env):
    config: Quiz
    stop = STOP

    async def start(self, task: Task, rng: random.Random) -> str:
        self.said = ""
        return "P"

    async def act(self, action: str) -> StepResult:
        self.said += action
        over = action[-1:] in tuple("rwv")
        info = {"success": reward(self.said) > 0} if over else {}
        shown = self.config.moody() if self.config.moody else "o"
        return StepResult("" if over else shown, reward(self.said) if over else 0.0, over, False, info)


def probes(policy: Policy, doubts: Sequence[str], probability: float) -> Iterator[tuple[str, float]]:
    """Every probe that can follow a trajectory of the policy, and how likely that is."""
    for end in policy.ends:
        if is_wrong(end):
            kept = end[: end.index("A")]
            for doubt in doubts:
                begun = kept + doubt
                for other in policy.ends:
                    if len(begun) < LIMIT and other.startswith(begun):
                        chance = math.exp(policy.logprob(end) + policy.logprob(other, begun))
                        yield other, chance * probability / len(doubts)
