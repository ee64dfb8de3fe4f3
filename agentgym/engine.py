"""The engine contract: token ids in, token ids out, with what the sampler knew about each."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from agentgym.ranges import at_least
from agentgym.types import Tokens


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample. temperature 0 is greedy. stop: texts that end the sample and stay in it.

    seed: makes this request's draws its own, whatever shares its batch; None draws from the engine's.
    window: most tokens that prompt and sample may have together; an engine refuses what could have more. begun:
    how many of the prompt's last ids the policy has said just before, where a stop text may have begun.
    """

    max_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    window: int | None = None
    begun: int = 0

    def __post_init__(self) -> None:
        at_least(self, 1, "max_tokens")
        at_least(self, 0, "temperature")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], not {self.top_p}")


@dataclass(frozen=True, slots=True)
class Sample:
    """One continuation. finish: stop (a stop text), eos (the end-of-turn token), or length. No tokens and
    `length`: there was no room for any after what had been said."""

    tokens: Tokens
    text: str
    finish: Literal["stop", "eos", "length"]


class EngineConfig(Protocol):
    """An engine's config: a frozen dataclass in `agentgym/engines/`.

    It may also have: brings_model, true where the model is somewhere else, and `reach(name, chat)` then makes the
    engine; copies_weights, true where it always samples with a copy of the model, which may then be anywhere;
    refuses_training, why nothing can be trained with it; tensor_parallel_size; served_as and
    weights_folder, of a server that serves one model.
    """

    def start(self, model: Any, tokenizer: Any) -> Engine:
        """An engine for this model. It may have `begin(model)`, which is awaited before anything is asked of it,
        and `spent`, what it has cost so far."""
        ...


class Engine(Protocol):
    """Samples from the policy. Coroutines ask, the engine batches."""

    version: int
    """Number of the weights now in use."""

    max_len: int
    """Longest sequence, prompt and samples together, in tokens."""

    vocab_size: int
    """Token ids that the model knows."""

    shares_weights: bool
    """Whether it samples with the very weights that the learner changes, so that the two must take turns: it is a
    `SharesWeights` then."""

    reused: int
    """Tokens of prompts that were not computed since the start, as what begins with them was cached."""

    async def sample(
        self, ids: Sequence[int], sampling: Sampling, *, session: str | None = None, parent: str | None = None
    ) -> Sample:
        """Continue `ids`. `session` keeps the sequence's KV cache until `release`, so that the next call pays
        only for what was added; `parent` names the session to share a prefix with when this one is new."""
        ...

    async def score(self, ids: Sequence[int]) -> Tokens:
        """Log-probability and entropy of every id given those before it; the first id gets 0."""
        ...

    def release(self, session: str) -> None:
        """Forget a session's KV cache; unknown sessions are ignored."""
        ...

    async def load(self, weights: Any, version: int) -> None:
        """Use new weights (a module or a state dict, as the engine documents) from the next token on. What is in
        the middle of a sample goes on under them."""
        ...

    async def close(self) -> None:
        """Stop; requests still waiting fail with EngineError."""
        ...


class SharesWeights(Engine, Protocol):
    """An engine that stands still while somebody changes its weights."""

    def held(self) -> AbstractContextManager[None]:
        """Within it nobody is sampled for; who asks waits. The weights that were changed are loaded before its
        end."""
        ...
