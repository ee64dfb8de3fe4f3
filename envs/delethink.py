"""The Markovian Thinker (arXiv 2510.06557): any environment, thought through in chunks of constant context."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from agentgym.chunks import Chunks
from agentgym.config import Spec, build
from agentgym.env import TRAITS, Env, EnvConfig, TaskSource, trait
from agentgym.protocol import Prompt

if TYPE_CHECKING:
    from agentgym.services import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class Delethink:
    """An environment that is played as ever, by a policy that forgets.

    inner: the environment; where it has no name it is `think`, so that `inner.tasks` is any set of questions with
    one answer. chunk: tokens that may follow the prompt. When they do, another chunk begins with the prompt, the
    first `head` tokens that ever followed it and the latest, `carry` in all, id for id. rounds: chunks of an
    episode, at most. prompt: see `think`; for environments that have one.
    """

    inner: Spec = "think"
    chunk: int = 48
    carry: int = 16
    head: int = 0
    rounds: int = 8
    prompt: Prompt = "auto"

    def __post_init__(self) -> None:
        if isinstance(self.inner, dict):
            object.__setattr__(self, "inner", {"name": "think", **self.inner})
        self.inside()  # what is wrong is wrong before anything is played
        _ = self.chunks

    @property
    def chunks(self) -> Chunks:
        """How the rollouts cut its episodes."""
        return Chunks(self.chunk, self.carry, self.head, self.rounds)

    def __getattr__(self, name: str) -> Any:
        """What else is asked of an environment, the one inside knows."""
        if name not in TRAITS:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}", name=name, obj=self)
        return trait(self.inside(), name)

    def inside(self) -> EnvConfig:
        """The environment inside."""
        env: Any = build("env", self.inner)
        if trait(env, "prompt") == "auto":
            env = replace(env, prompt=self.prompt)
        found: EnvConfig = env
        return found

    def make(self, services: Services) -> Env:
        return self.inside().make(services)

    def source(self) -> TaskSource:
        return self.inside().source()
