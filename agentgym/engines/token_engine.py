"""The engine over a server that takes and returns token ids, as vLLM's completions do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agentgym.api.failures import Unfit
from agentgym.api.wire import ModelList, Scored, TokenAnswer, TokenChoice
from agentgym.engine import Sample, Sampling
from agentgym.engines.api_engine import ApiEngine, ContextFull
from agentgym.engines.prompts import eos_ids, sample_limit
from agentgym.engines.stop import StopFinder, token_bytes
from agentgym.engines.top_entropy import lowest_entropy
from agentgym.errors import ConfigError, EngineError
from agentgym.types import Tokens

if TYPE_CHECKING:
    from agentgym.engines.openai import Openai


class TokenEngine(ApiEngine):
    """See `Engine` and `Openai`. Ids are the record: text and stop texts are read off them here.

    Entropies are the lower bound that the `top_logprobs` likeliest tokens give, the tail as one token; 0 asks for
    none.
    """

    def __init__(self, config: Openai, model: Any, tokenizer: Any) -> None:
        super().__init__(config, config.served_as or str(model.name_or_path))
        limit = getattr(model.config, "max_position_embeddings", None)
        self.max_len = min(limit or self.max_len, self.max_len)
        self.vocab_size = int(model.get_input_embeddings().weight.shape[0])
        self._bytes = token_bytes(tokenizer, self.vocab_size)
        self._eos = eos_ids(model, tokenizer)

    async def sample(
        self, ids: Sequence[int], sampling: Sampling, *, session: str | None = None, parent: str | None = None
    ) -> Sample:
        """See `Engine`. Raises ConfigError where log-probabilities would be those of another temperature than
        1."""
        if not self.config.raw_logprobs and sampling.temperature != 1:
            raise ConfigError(
                f"engine openai: at temperature {sampling.temperature:g} this server tells log-probabilities of "
                "that temperature (engine.raw_logprobs=false): sample at 1, or have it tell raw ones (vLLM: "
                "--logprobs-mode raw_logprobs)"
            )
        limit, version = sample_limit(len(ids), sampling, self.max_len), self.version
        body = self.request({**self._asked(ids, sampling), "max_tokens": limit})
        try:
            choices = await self.ask("completions", body, TokenAnswer, self._read)
        except ContextFull as error:
            await self._learn_limit(error)
            if len(ids) < self.max_len:
                return await self.sample(ids, sampling, session=session, parent=parent)
            return Sample(Tokens((), None, None, ()), "", "length")
        new = [index for choice in choices for index in choice.token_ids or ()]
        logprobs = [value for choice in choices for value in _told(choice)]
        entropies = [value for choice in choices for value in _entropies(choice)]
        count, stopped = self._end(ids[len(ids) - sampling.begun :], new, sampling.stop)
        eos = not stopped and bool(new) and new[-1] in self._eos
        shown = new[: count - eos]
        return Sample(
            Tokens(
                tuple(new[:count]),
                tuple(logprobs[:count]),
                tuple(entropies[:count]) if self.config.top_logprobs else None,
                (version,) * count,
            ),
            b"".join(self._bytes[index] for index in shown).decode(errors="replace"),
            "stop" if stopped else "eos" if eos else "length",
        )

    async def score(self, ids: Sequence[int]) -> Tokens:
        """See `Engine`, for servers with prompt_logprobs."""
        most = self.config.top_logprobs
        asked = {"prompt": list(ids), "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": most}

        def read(answers: list[TokenAnswer]) -> list[dict[str, Scored] | None]:
            told = [choice.prompt_logprobs for answer in answers for choice in answer.choices]
            if not told or told[0] is None or len(told[0]) != len(ids):
                raise Unfit("no prompt_logprobs")
            if not all(row and str(i) in row for row, i in zip(told[0][1:], ids[1:], strict=True)):
                raise Unfit("no log-probability for an id of the prompt")
            return told[0]

        try:
            rows = await self.ask("completions", self.request(asked), TokenAnswer, read)
        except ContextFull as error:
            raise EngineError(str(error)) from error
        tables = [row or {} for row in rows[1:]]
        logprobs = (0.0, *(row[str(index)].logprob for row, index in zip(tables, ids[1:], strict=True)))
        entropy = (0.0, *(lowest_entropy([scored.logprob for scored in row.values()]) for row in tables))
        return Tokens(tuple(ids), logprobs, entropy if most else None, (self.version,) * len(ids))

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
            "stream_options": {"include_usage": True},
        }

    def _read(self, answers: list[TokenAnswer]) -> list[TokenChoice]:
        """Whole answers only: with an end, and a log-probability for every id."""
        choices = [choice for answer in answers for choice in answer.choices[:1]]
        if not any(choice.finish_reason for choice in choices):
            raise Unfit("no finish_reason")
        ids = [index for choice in choices for index in choice.token_ids or ()]
        if not ids:
            raise Unfit("no token_ids: does the server know return_token_ids?")
        if len([value for choice in choices for value in _told(choice)]) != len(ids):
            raise Unfit("not as many log-probabilities as token ids")
        if max(ids) >= self.vocab_size or min(ids) < 0:
            raise Unfit(f"a token id beyond the model's vocabulary of {self.vocab_size}: is it another model?")
        return choices

    def _end(self, begun: Sequence[int], new: Sequence[int], stops: Sequence[str]) -> tuple[int, bool]:
        """How many of the new ids there are up to a stop text, and whether there is one."""
        finder = StopFinder(stops)
        for index in begun:
            finder.add(self._bytes[index])
        for count, index in enumerate(new, 1):
            if index not in self._eos and finder.add(self._bytes[index]):
                return count, True
        return len(new), False


def _told(choice: TokenChoice) -> list[float]:
    if choice.logprobs is None:
        return []
    return [value for value in choice.logprobs.token_logprobs if value is not None]


def _entropies(choice: TokenChoice) -> list[float]:
    if choice.logprobs is None:
        return []
    return [lowest_entropy(list((row or {}).values())) for row in choice.logprobs.top_logprobs or ()]
