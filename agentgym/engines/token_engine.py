"""The engine over a server that takes and returns token ids, as vLLM's completions do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from agentgym.api.wire import ModelList, TokenAnswer
from agentgym.engine import Sample, Sampling
from agentgym.engines.agreement import TOLERANCE, dtype_of, largest_difference
from agentgym.engines.api_engine import ApiEngine, ContextFull
from agentgym.engines.exported import Exported
from agentgym.engines.prompts import eos_ids, longest, sample_limit
from agentgym.engines.server_weights import ServerWeights
from agentgym.engines.stop import StopFinder, token_bytes
from agentgym.engines.token_reply import Drawn, read_drawn, read_scored
from agentgym.errors import ConfigError, EngineError
from agentgym.types import Tokens

if TYPE_CHECKING:
    from agentgym.engines.openai import Openai


T = TypeVar("T")

TRIED = 64
"""Tokens by which the server's weights are compared with the learner's."""


class TokenEngine(ApiEngine):
    """See `Engine` and `Openai`. Ids are the record: text and stop texts are read off them here. `load` takes the
    learner's module.

    Entropies are the lower bound that the `top_logprobs` likeliest tokens give, the tail as one token; 0 asks for
    none.
    """

    def __init__(self, config: Openai, model: Any, tokenizer: Any) -> None:
        super().__init__(config, config.served_as or str(model.name_or_path))
        self.max_len = longest(model, config.max_len)
        self.vocab_size = int(model.get_input_embeddings().weight.shape[0])
        self._bytes = token_bytes(tokenizer, self.vocab_size)
        self._eos = eos_ids(model, tokenizer)
        self._weights: ServerWeights | None = None
        if config.weights_folder:
            if hasattr(model, "peft_config"):
                raise ConfigError("engine openai gives a server whole models: with lora, train with engine=vllm")
            self._exported = Exported(model, config.weights_folder)
            self._weights = ServerWeights(self._client, self._take_on)

    async def begin(self, model: Any) -> None:
        """Give the server the model that the engine was started with, where there is a folder for that."""
        if self._weights:
            await self._give(model, self._exported.folder, self.version)

    async def load(self, weights: Any, version: int) -> None:
        """See `Engine`. Sampling stands still meanwhile, and prompts are computed again under the new weights.
        Raises ConfigError where the server cannot load them, or does not sample with them then."""
        if not self._weights:
            raise ConfigError(self.config.refuses_training)
        folder = await asyncio.to_thread(self._exported.write_again, weights, version)
        await self._give(weights, folder, version)

    async def close(self) -> None:
        """See `Engine`."""
        if self._weights:
            self._weights.close()
            self._exported.close()
        await super().close()

    async def sample(
        self, ids: Sequence[int], sampling: Sampling, *, session: str | None = None, parent: str | None = None
    ) -> Sample:
        """See `Engine`. Raises ConfigError where log-probabilities would be those of another temperature than
        1. A token's version is that of the weights in use when it came."""
        if not self.config.raw_logprobs and sampling.temperature != 1:
            raise ConfigError(
                f"engine openai: at temperature {sampling.temperature:g} this server tells log-probabilities of "
                "that temperature (engine.raw_logprobs=false): sample at 1, or have it tell raw ones (vLLM: "
                "--logprobs-mode raw_logprobs)"
            )
        limit = sample_limit(len(ids), sampling, self.max_len)
        body = self.request({**self._asked(ids, sampling), "max_tokens": limit})
        try:
            drawn = await self._surely(lambda: self._draw(body))
        except ContextFull as error:
            await self._learn_limit(error)
            if len(ids) < self.max_len:
                return await self.sample(ids, sampling, session=session, parent=parent)
            return Sample(Tokens((), None, None, ()), "", "length")
        new = drawn.ids
        count, stopped = self._end(ids[len(ids) - sampling.begun :], new, sampling.stop)
        eos = not stopped and new[-1] in self._eos
        shown = new[: count - eos]
        return Sample(
            Tokens(
                tuple(new[:count]),
                tuple(drawn.logprobs[:count]),
                tuple(drawn.entropy[:count]) if self.config.top_logprobs else None,
                tuple(drawn.versions[:count]),
            ),
            b"".join(self._bytes[index] for index in shown).decode(errors="replace"),
            "stop" if stopped else "eos" if eos else "length",
        )

    async def score(self, ids: Sequence[int]) -> Tokens:
        """See `Engine`, for servers with prompt_logprobs."""
        return await self._surely(lambda: self._score(ids))

    async def _draw(self, body: dict[str, Any]) -> Drawn:
        def read(answers: list[TokenAnswer]) -> Drawn:
            return read_drawn(answers, self.vocab_size)

        return await self.ask("completions", body, TokenAnswer, read, self._stamp)

    async def _score(self, ids: Sequence[int]) -> Tokens:
        most = self.config.top_logprobs
        asked = {"prompt": list(ids), "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": most}

        def read(answers: list[TokenAnswer]) -> Tokens:
            logprobs, entropy, versions = read_scored(answers, ids)
            return Tokens(tuple(ids), tuple(logprobs), tuple(entropy) if most else None, tuple(versions))

        try:
            return await self.ask("completions", self.request(asked), TokenAnswer, read, self._stamp)
        except ContextFull as error:
            raise EngineError(str(error)) from error

    @property
    def unable(self) -> dict[str, str]:
        """What this server, asked in this way, cannot be held to, and why."""
        tells = self._client.cached is not None
        reasons = {
            "entropies": "" if self.config.top_logprobs else "engine.top_logprobs=0 asks for no likeliest tokens",
            "reuse": "" if tells else "the server does not tell (vLLM: --enable-prompt-tokens-details)",
            "weights": self.config.refuses_training,
        }
        return {what: reason for what, reason in reasons.items() if reason}

    def _stamp(self, answer: TokenAnswer) -> None:
        answer.version = self.version

    def _take_on(self, version: int) -> None:
        self.version = version

    async def _give(self, model: Any, folder: Path, version: int) -> None:
        """Raises ConfigError where the server does not sample with the weights that it was given."""
        assert self._weights is not None
        await self._weights.give(folder, version)
        known = [index for index, text in enumerate(self._bytes) if text and index not in self._eos]
        ids = random.Random(0).choices(known, k=min(TRIED, self.max_len // 2))
        told = await self.score(ids)
        dtype = dtype_of(model)
        difference = await asyncio.to_thread(largest_difference, model, ids, told.logprobs or ())
        if difference > TOLERANCE[dtype]:
            raise ConfigError(
                f"engine openai: {self.config.base_url} was given the weights, and a log-probability there is "
                f"{difference:.2g} nats from the model's own ({TOLERANCE[dtype]:g} may come of {dtype} itself). "
                f"Does it serve this model, with --dtype {dtype} and --logprobs-mode raw_logprobs?"
            )

    async def _surely(self, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer of a server that has had the weights all the time; another is asked for again."""
        if self._weights is None:
            return await ask()
        while True:
            lost = self._weights.lost
            found = await ask()
            await self._weights.confirm()
            if self._weights.lost == lost:
                return found

    async def _learn_limit(self, refusal: ContextFull) -> None:
        """The server has room for less than was thought; raises EngineError when it does not say for how much."""

        def read(answers: list[ModelList]) -> list[int]:
            return [
                card.max_model_len
                for a in answers
                for card in a.data
                if card.id == self.model and card.max_model_len
            ]

        limits = await self.ask("models", None, ModelList, read)
        if not limits or limits[0] >= self.max_len:
            raise EngineError(f"{refusal} (engine.max_len says where to stop before)") from refusal
        self.max_len = limits[0]

    def _asked(self, ids: Sequence[int], sampling: Sampling) -> dict[str, Any]:
        return {
            "prompt": list(ids),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k or -1,
            "seed": sampling.seed,
            "stop": list(sampling.stop),
            "include_stop_str_in_output": True,
            "skip_special_tokens": False,
            "logprobs": self.config.top_logprobs,
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }

    def _end(self, begun: Sequence[int], new: Sequence[int], stops: Sequence[str]) -> tuple[int, bool]:
        """How many of the new ids there are up to a stop text, and whether there is one."""
        finder = StopFinder(stops)
        for index in begun:
            finder.add(self._bytes[index])
        for count, index in enumerate(new, 1):
            if index not in self._eos and finder.add(self._bytes[index]):
                return count, True
        return len(new), False
