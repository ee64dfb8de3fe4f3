"""The live engine: continuous batching of coroutines over one KV cache."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from agentgym.engine import Sample, Sampling
from agentgym.engines.attention import DecodeAttention, ExtendAttention, Span
from agentgym.engines.decode_rows import Rows
from agentgym.engines.kv_cache import KVCache
from agentgym.engines.prompts import checked_ids, eos_ids, longest, sample_limit
from agentgym.engines.request import Request
from agentgym.engines.sampling import describe, draw
from agentgym.engines.slots import Slots
from agentgym.engines.stop import token_bytes
from agentgym.errors import EngineError
from agentgym.models.choose_decoder import choose_decoder
from agentgym.types import Tokens

if TYPE_CHECKING:
    from agentgym.engines.torch import Torch

SCORED_AT_ONCE = 2**24
"""Logits held while scoring: 64 MiB in float32."""


class TorchEngine:
    """See `Engine`. `load` takes the module it started with, another of its kind, or a state dict.

    Prompts are computed up to their last token; the last one is fed by the first decode step, as sampled
    tokens are, so a request whose prefix is cached starts decoding at once. The module is put into eval mode.
    prefilled, decoded: tokens computed in either way since the start.
    """

    def __init__(self, model: Any, tokenizer: Any, config: Torch, *, shares_weights: bool = True) -> None:
        self.version = 0
        self.shares_weights = shares_weights
        self.model = model.eval()
        self._inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.config = config
        self.max_len = longest(model, config.max_len)
        self.prefilled = self.decoded = self.reused = 0
        self._decoder = choose_decoder(model, self.max_len)
        self.vocab_size = int(model.get_input_embeddings().weight.shape[0])
        self._bytes = token_bytes(tokenizer, self.vocab_size)
        self._eos = eos_ids(model, tokenizer)
        self._weight = next(model.parameters()).detach()
        self._device = self._weight.device
        self._running: asyncio.Task[None] | None = None
        self._closed = False
        self._holders = 0
        self._free = asyncio.Event()
        self._free.set()
        self._waiting: list[Request] = []
        self._ordinals: Counter[int] = Counter()
        self._clear()

    def _clear(self) -> None:
        """An empty cache, and nobody in it."""
        decoder = self._decoder
        self._cache = KVCache(
            decoder.layers,
            decoder.kv_heads,
            decoder.head_dim,
            max_slots=self.config.max_sequences,
            max_len=self.max_len,
            like=self._weight,
        )
        self._slots = Slots(self._cache)
        self._prefilling: list[Request] = []
        self._decoding: list[Request] = []
        self._rows: Rows | None = None  # None: the decoding requests have changed

    @property
    def slots_in_use(self) -> int:
        """Sequences with a KV cache: sampling, or kept for their session."""
        return self._slots.used

    async def sample(
        self, ids: Sequence[int], sampling: Sampling, *, session: str | None = None, parent: str | None = None
    ) -> Sample:
        """See `Engine`. Raises EngineError when the prompt leaves no room for a token, and when prompt and sample
        could pass the window."""
        prompt = checked_ids(ids, self.vocab_size)
        limit = sample_limit(len(prompt), sampling, self.max_len)
        if session is not None and any(r.session == session for r in self._requests()):
            raise EngineError(f"session {session!r} is already sampling; a session has one call at a time")
        request = Request(
            prompt,
            sampling,
            self.version,
            limit=limit,
            session=session,
            parent=parent,
            eos=self._eos,
            pieces=self._bytes,
            seed=self._seed(prompt, sampling.seed),
        )
        await self._submit(request)
        return request.sample()

    async def score(self, ids: Sequence[int]) -> Tokens:
        """See `Engine`."""
        request = Request(checked_ids(ids, self.vocab_size), None, self.version)
        if len(request.ids) > self.max_len:
            raise EngineError(f"the sequence has {len(request.ids)} tokens and max_len is {self.max_len}")
        await self._submit(request)
        return request.scored()

    def release(self, session: str) -> None:
        """See `Engine`."""
        resident = self._slots.sessions.get(session)
        if resident is None:
            return
        if self._slots.is_idle(resident):
            self._slots.evict(resident)
            self._shrink()
        else:
            self._slots.end_session(resident)

    async def load(self, weights: Any, version: int) -> None:
        """See `Engine`. What was cached under the old weights is forgotten; sequences in the middle of a
        sample are computed again under the new ones before their next token."""
        if isinstance(weights, nn.Module):
            weights = None if weights is self.model else weights.state_dict()
        elif not isinstance(weights, Mapping):
            raise EngineError(f"load takes a module or a state dict, not {type(weights).__name__}")
        if weights is not None:
            try:
                self.model.load_state_dict(weights)
            except RuntimeError as error:
                raise EngineError(f"the weights do not fit the model: {error}") from error
        self._decoder.refresh()
        self.version = version
        self._ordinals.clear()
        self._slots.evict_idle()
        self._rows = None
        for request in self._waiting:
            request.version = version
        under_way = self._prefilling + self._decoding
        self._prefilling, self._decoding = [], []
        for request in under_way:
            self._slots.retire(request.resident)
            request.restart(version)
        for request in under_way:
            self._slots.wake(request.resident)
            self._begin(request)

    @contextmanager
    def held(self) -> Iterator[None]:
        """See `SharesWeights`."""
        self._holders += 1
        self._free.clear()
        try:
            yield
        finally:
            self._holders -= 1
            if not self._holders:
                self._free.set()

    async def close(self) -> None:
        """See `Engine`."""
        self._closed = True
        self._fail(EngineError("the engine was closed"))
        if self._running is not None:
            await asyncio.wait([self._running])

    # One request's way: waiting -> prefilling -> decoding -> done.

    def _requests(self) -> list[Request]:
        return self._waiting + self._prefilling + self._decoding

    def _seed(self, prompt: list[int], given: int | None) -> str:
        """Of a request's own random numbers, which do not depend on what else is being sampled. Unless given:
        from the weights' version, the prompt, and how many calls had the same prompt before."""
        if given is not None:
            return f"given {given}"
        key = hash(tuple(prompt))
        self._ordinals[key] += 1
        return f"{self.config.seed}/{self.version}/{self._ordinals[key]}/{key}"

    async def _submit(self, request: Request) -> None:
        if self._closed:
            raise EngineError("the engine is closed")
        self._waiting.append(request)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        try:
            await request.future
        except asyncio.CancelledError:
            self._drop(request)
            raise

    async def _run(self) -> None:
        while self._waiting or self._prefilling or self._decoding:
            await self._free.wait()
            try:
                with torch.inference_mode():
                    self._step()
            except Exception as error:
                self._fail(error)
            await asyncio.sleep(0)
        self._shrink()

    def _shrink(self) -> None:
        """Where nobody is in the cache its memory on a GPU is the learner's, until somebody comes; to make it anew
        takes longer on a CPU, which has enough."""
        if self._device.type == "cuda" and not self._slots.used:
            self._clear()

    def _fail(self, error: Exception) -> None:
        """Every request under way fails with `error`, and the cache, whose state is unknown, is emptied."""
        for request in self._requests():
            if not request.future.done():
                failure = EngineError(f"sampling failed: {type(error).__name__}: {error}")
                failure.__cause__ = error
                request.future.set_exception(error if isinstance(error, EngineError) else failure)
        self._waiting = []
        self._clear()

    def _drop(self, request: Request) -> None:
        """Forget a request nobody waits for any more."""
        for queue in (self._waiting, self._prefilling, self._decoding):
            if request in queue:
                queue.remove(request)
                if queue is not self._waiting:
                    self._leave(request)

    def _step(self) -> None:
        if self._inner.training:  # the learner's part, which knows nothing of peft's wrapper around it
            self.model.eval()
        self._waiting = [request for request in self._waiting if not self._admit(request)]
        if self._prefilling:
            self._extend()
        elif self._decoding:
            self._decode()

    def _admit(self, request: Request) -> bool:
        """Give it a slot with as much of its prefix as is cached anywhere; False when it has to wait."""
        own = self._slots.sessions.get(request.session or "")
        if own is None and self._slots.full:
            return False
        donors = [] if request.scores else self._slots.relatives(request.ids, request.session, request.parent)
        if any(r.resident in donors and r.prompt == request.ids for r in self._prefilling):
            return False  # the same prompt is being computed: share it when it is done
        prefixes = [donor.common_prefix(request.ids) for donor in donors]
        shared = max(prefixes, default=0)
        if own is None:
            resident = self._slots.settle(request.session, len(request.ids))
        else:
            resident = own
            self._slots.wake(own)
            self._cache.reserve(0, len(request.ids))
        self.reused += shared
        if shared:
            self._slots.inherit(resident, donors[prefixes.index(shared)], shared)
        resident.ids, resident.cached, request.resident = request.ids, shared, resident
        if not request.scores:
            self._slots.remember_prompt(resident)
        self._begin(request)
        return True

    def _begin(self, request: Request) -> None:
        """To the decoded rows, when nothing of its prompt is left to compute."""
        if request.resident.cached == request.to_prefill:
            self._slots.activate(request.resident)
            self._decoding.append(request)
            self._rows = None
        else:
            self._prefilling.append(request)

    def _extend(self) -> None:
        """One chunk of prompt tokens, of as many requests as it holds."""
        scores = self._prefilling[0].scores
        room = self.config.prefill_tokens
        if scores:
            room = max(1, min(room, SCORED_AT_ONCE // self.vocab_size))
        chunk: list[tuple[Request, Span]] = []
        for request in self._prefilling:
            if request.scores == scores and room:
                start = request.resident.cached
                count = min(room, request.to_prefill - start)
                chunk.append((request, Span(request.resident.slot, start, count)))
                room -= count
        spans = [span for _, span in chunk]
        ids = [i for r, s in chunk for i in r.ids[s.start : s.start + s.count]]
        positions = [i for s in spans for i in range(s.start, s.start + s.count)]
        attend = ExtendAttention(self._cache, spans)
        logits = self._decoder(self._tensor(ids), self._tensor(positions), attend, logits=scores)
        self.prefilled += len(ids)
        if logits is not None:
            self._note_scores(chunk, logits)
        for request, span in chunk:
            request.resident.cached += span.count
        chunk.sort(key=lambda part: part[1].slot)  # so that those side by side begin without a move
        for request, _ in chunk:  # now that all know what they hold: beginning one may move another
            if request.resident.cached == request.to_prefill:
                self._prefilling.remove(request)
                if scores:
                    self._leave(request)
                    request.done()
                else:
                    self._begin(request)

    def _note_scores(self, chunk: list[tuple[Request, Span]], logits: Tensor) -> None:
        """What the logits at each token say about the one after it."""
        following = [i for r, s in chunk for i in [*r.ids[s.start + 1 :], 0][: s.count]]
        logprobs, _, entropy = describe(logits)
        chosen = logprobs.gather(1, self._tensor(following)[:, None])[:, 0].tolist()
        first = 0
        for request, span in chunk:
            last = first + min(span.count, len(request.ids) - 1 - span.start)  # nothing comes after the end
            request.logprobs += chosen[first:last]
            request.entropy += entropy[first:last].tolist()
            first += span.count

    def _decode(self) -> None:
        """One token for every decoding request."""
        if self._rows is None:
            self._decoding.sort(key=lambda request: request.resident.slot)
            self._rows = Rows.of(self._decoding, self._device)
        rows = self._rows
        self._cache.reserve(0, rows.longest + 1)
        attend = DecodeAttention(self._cache, rows.positions, rows.longest, rows.equal)
        logits = self._decoder(rows.ids, rows.positions, attend, logits=True)
        assert logits is not None
        uniforms = torch.tensor([[r.random()] for r in self._decoding], dtype=torch.float64, device=self._device)
        ids, logprobs, entropy = draw(logits, uniforms, rows.shaping)
        rows.advance(ids)
        self.decoded += len(ids)
        drawn = torch.stack([ids.double(), logprobs.double(), entropy.double()]).tolist()
        ended = [r for r, *token in zip(self._decoding, *drawn, strict=True) if r.append(*token)]
        for request in reversed(ended):  # the last slots first: nobody moves into those that end as well
            self._decoding.remove(request)
            self._leave(request)
            request.done()

    def _leave(self, request: Request) -> None:
        """Its resident idles for the session, or goes."""
        self._slots.retire(request.resident)
        if request.resident.session is None:
            self._slots.evict(request.resident)
        self._rows = None

    def _tensor(self, values: list[int]) -> Tensor:
        return torch.tensor(values, device=self._device)
