"""The live vLLM engine: requests to vLLM's own process, token ids in and out."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import os
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agentgym.engine import Sample, Sampling
from agentgym.engines.agreement import dtype_of
from agentgym.engines.bound import Bound
from agentgym.engines.exported import Exported
from agentgym.engines.prompts import checked_ids, eos_ids, longest, sample_limit
from agentgym.engines.stop import StopFinder, token_bytes
from agentgym.engines.top_entropy import lowest_entropy
from agentgym.errors import ConfigError, EngineDead, EngineError
from agentgym.types import Tokens

if TYPE_CHECKING:
    from agentgym.engines.vllm import Vllm

ENDING = 10.0
"""Seconds that vLLM's processes have to be gone once they were told."""


LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


class VllmEngine:
    """See `Engine`. `load` takes the learner's module. Prefixes are shared by what they hold, in any session.

    Stop texts are looked for here: vLLM knows nothing of one that began in the prompt. With peft adapters, these
    alone are loaded, and what is in the middle of a sample ends with those it began with.
    decoded: tokens sampled since the start.
    """

    shares_weights = False

    def __init__(self, model: Any, tokenizer: Any, config: Vllm) -> None:
        self.config, self.version = config, 0
        self.vocab_size = int(model.get_input_embeddings().weight.shape[0])
        room = longest(model, None) - 1  # vLLM scores only where one more could be sampled
        self.max_len = min(longest(model, config.max_len), room)
        self.decoded = self.reused = 0
        self._bytes = token_bytes(tokenizer, self.vocab_size)
        self._eos = eos_ids(model, tokenizer)
        self._numbers = itertools.count()
        self._loading = asyncio.Lock()
        self._closed = False
        self._adapter: Any = None
        self._adapters: Counter[str] = Counter()  # requests under way, by the folder of their adapters
        self._exported = Exported(model)
        try:
            others = multiprocessing.active_children()
            self._llm = self._start(model)
            self._processes = [each for each in multiprocessing.active_children() if each not in others]
            self._bound = Bound([each.pid for each in self._processes if each.pid], self._exported.root)
        except BaseException:
            self._exported.close()
            raise

    def _start(self, model: Any) -> Any:
        os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")  # torch's threads do not survive a fork
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM

        config, dtype = self.config, dtype_of(model)
        arguments: dict[str, Any] = {
            "model": str(self._exported.folder),
            "skip_tokenizer_init": True,
            "dtype": dtype if config.dtype == "auto" else config.dtype,
            "max_model_len": self.max_len + 1,
            "max_num_seqs": config.max_sequences,
            "tensor_parallel_size": config.tensor_parallel_size,
            "gpu_memory_utilization": config.gpu_memory_utilization,
            "max_logprobs": config.top_logprobs or -1,
            "logprobs_mode": "raw_logprobs",  # at temperature 1, as the contract has them
            "enable_prefix_caching": True,
            "seed": config.seed,
            "generation_config": "vllm",  # the model's own would change how is sampled
            "disable_log_stats": True,
            "use_tqdm_on_load": False,  # weights are loaded at every step
        }
        if current_platform.is_cpu():  # vLLM dies there of a seeded request whose prompt is computed in parts
            arguments |= {"enable_chunked_prefill": False, "max_num_batched_tokens": max(4096, self.max_len + 1)}
            arguments["enforce_eager"] = True  # compiling takes minutes there
        if self._exported.adapts:
            rank = lora_rank(max(adapter.r for adapter in model.peft_config.values()))
            arguments |= {"enable_lora": True, "max_lora_rank": rank, "max_loras": 2}
        if config.tensor_parallel_size > 1:  # within an actor of Ray's it would look for GPUs elsewhere
            arguments["distributed_executor_backend"] = "mp"
        try:
            return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments | config.more))
        except (TypeError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"engine vllm does not start: {type(error).__name__}: {error} (one sequence of engine.max_len="
                f"{self.max_len} tokens must fit in engine.gpu_memory_utilization={config.gpu_memory_utilization})"
            ) from error

    async def sample(
        self, ids: Sequence[int], sampling: Sampling, *, session: str | None = None, parent: str | None = None
    ) -> Sample:
        """See `Engine`. Raises EngineError for what cannot be sampled, and when vLLM is dead."""
        prompt = checked_ids(ids, self.vocab_size)
        limit = sample_limit(len(prompt), sampling, self.max_len)
        finder = StopFinder(sampling.stop)
        for index in prompt[max(0, len(prompt) - sampling.begun) :]:
            finder.add(self._bytes[index])
        drawn: list[tuple[int, float, float, int]] = []
        finish: Literal["stop", "eos", "length"] = "length"
        adapter, begun = self._adapter, self.version if self._exported.adapts else None
        async with aclosing(self._ask(prompt, self._parameters(sampling, limit), adapter)) as outputs:
            async for output in outputs:
                for token, logprob, uncertainty in _described(output.outputs[0]):
                    drawn.append((token, logprob, uncertainty, self.version if begun is None else begun))
                    if token in self._eos:
                        finish = "eos"
                    elif finder.add(self._bytes[token]):
                        finish = "stop"
                    if finish != "length":
                        break
                if finish != "length":
                    break
        if not drawn:
            raise EngineError("vLLM ended a request without a token")
        self.decoded += len(drawn)
        said, logprobs, entropy, versions = (tuple(column) for column in zip(*drawn, strict=True))
        shown = said[:-1] if finish == "eos" else said
        text = b"".join(self._bytes[i] for i in shown).decode(errors="replace")
        return Sample(Tokens(said, logprobs, entropy, versions), text, finish)

    async def score(self, ids: Sequence[int]) -> Tokens:
        """See `Engine`."""
        prompt = checked_ids(ids, self.vocab_size)
        if len(prompt) > self.max_len:
            raise EngineError(f"the sequence has {len(prompt)} tokens and max_len is {self.max_len}")
        parameters = self._parameters(Sampling(max_tokens=1), 1)  # vLLM samples a token in any case
        parameters.prompt_logprobs, parameters.logprobs = parameters.logprobs, None
        version = self.version
        outputs = [output async for output in self._ask(prompt, parameters, self._adapter)]
        known = [_known(outputs[-1].prompt_logprobs, i) for i in range(1, len(prompt))]
        logprobs = (0.0, *(told[token] for told, token in zip(known, prompt[1:], strict=True)))
        entropy = (0.0, *(lowest_entropy(list(told.values())) for told in known))
        return Tokens(tuple(prompt), logprobs, entropy, (version,) * len(prompt))

    def release(self, session: str) -> None:
        """Nothing is kept for a session: vLLM forgets what was used longest ago when it needs the room."""

    async def load(self, weights: Any, version: int) -> None:
        """See `Engine`. Sampling stands still meanwhile, and prompts are computed again under the new weights."""
        from vllm.v1.engine.exceptions import EngineDeadError

        async with self._loading:
            used = +self._adapters  # vLLM may read them again
            folder = await asyncio.to_thread(self._exported.write_again, weights, version, used)
            take = self._add_adapter if self._exported.adapts else self._exchange
            try:
                await take(folder, version)
            except EngineDeadError as error:
                raise EngineDead(f"vLLM: {error}") from error

    async def _exchange(self, folder: Path, version: int) -> None:
        await self._llm.pause_generation(mode="keep", clear_cache=False)
        try:
            await self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(folder)})
            await self._llm.reset_prefix_cache(reset_running_requests=True)
            self.version = version
        finally:
            await self._llm.resume_generation()

    async def _add_adapter(self, folder: Path, version: int) -> None:
        from vllm.lora.request import LoRARequest

        adapter = LoRARequest(f"v{version}", version + 1, str(folder))  # numbers begin at 1
        await self._llm.add_lora(adapter)
        self._adapter, self.version = adapter, version

    async def close(self) -> None:
        """See `Engine`."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._llm.shutdown)
            self._llm = None  # at the interpreter's end it could not clean up any more
            for process in self._processes:
                await asyncio.to_thread(process.join, ENDING)
            await asyncio.to_thread(self._bound.close)
            self._exported.close()

    def _parameters(self, sampling: Sampling, limit: int) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            max_tokens=limit,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            seed=None if sampling.seed is None else sampling.seed % 2**63,
            logprobs=self.config.top_logprobs or -1,
            flat_logprobs=True,
            stop_token_ids=sorted(self._eos),
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )

    async def _ask(self, prompt: list[int], parameters: Any, adapter: Any) -> AsyncGenerator[Any]:
        """vLLM's outputs; who stops listening aborts the request."""
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        if self._closed:
            raise EngineError("the engine is closed")
        asked = {"type": "token", "prompt_token_ids": prompt}
        outputs = self._llm.generate(asked, parameters, str(next(self._numbers)), lora_request=adapter)
        name = adapter.lora_name if adapter else ""
        self._adapters[name] += 1
        try:
            async with aclosing(outputs):
                first = True
                async for output in outputs:
                    if first:
                        self.reused += output.num_cached_tokens or 0
                        first = False
                    yield output
        except EngineDeadError as error:
            raise EngineDead(f"vLLM: {error}") from error
        except (EngineGenerateError, ValueError) as error:
            raise EngineError(f"vLLM: {type(error).__name__}: {error}") from error
        finally:
            self._adapters[name] -= 1


def lora_rank(rank: int) -> int:
    """The least that vLLM keeps room for, and that has it. Raises ConfigError above the greatest."""
    found = next((each for each in LORA_RANKS if each >= rank), None)
    if found is None:
        raise ConfigError(f"lora.rank={rank}: vLLM takes adapters of a rank up to {LORA_RANKS[-1]}")
    return found


def _described(output: Any) -> Iterator[tuple[int, float, float]]:
    """Each token with its logprob and its entropy (the lowest that the likeliest tokens allow)."""
    for place, token in enumerate(output.token_ids):
        known = _known(output.logprobs, place)
        yield token, known[token], lowest_entropy(list(known.values()))


def _known(told: Any, place: int) -> dict[int, float]:
    """Log-probabilities at a place, by token: the one that is there, and the likeliest."""
    part = slice(told.start_indices[place], told.end_indices[place])
    return dict(zip(told.token_ids[part], told.logprobs[part], strict=True))
