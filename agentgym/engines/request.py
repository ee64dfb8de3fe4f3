"""One call of the engine on its way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Literal

from agentgym.engine import Sample, Sampling
from agentgym.engines.slots import Resident
from agentgym.engines.stop import StopFinder
from agentgym.types import Tokens


class Request:
    """`ids` grows by what is sampled; its resident shares the list. Scored when `sampling` is None.

    pieces: the bytes of every id. limit: tokens to sample at most.
    """

    __slots__ = (
        "entropy", "eos", "finish", "future", "ids", "limit", "logprobs", "parent", "pieces", "prompt_length",
        "random", "resident", "sampling", "scores", "session", "stop", "version", "versions",
    )  # fmt: skip

    resident: Resident

    def __init__(
        self,
        ids: list[int],
        sampling: Sampling | None,
        version: int,
        *,
        limit: int = 0,
        session: str | None = None,
        parent: str | None = None,
        eos: frozenset[int] = frozenset(),
        pieces: Sequence[bytes] = (),
        seed: str = "",
    ) -> None:
        self.ids = ids
        self.prompt_length = len(ids)
        self.sampling = sampling
        self.scores = sampling is None
        self.version = version
        self.limit = limit
        self.session = session
        self.parent = parent
        self.eos = eos
        self.pieces = pieces
        self.random = random.Random(seed).random
        self.stop = StopFinder(sampling.stop if sampling else ())
        for index in ids[max(0, len(ids) - sampling.begun) :] if sampling else ():
            self.stop.add(pieces[index])
        self.finish: Literal["stop", "eos", "length"] = "length"
        self.logprobs: list[float] = []
        self.versions: list[int] = []
        self.entropy: list[float] = []
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def prompt(self) -> list[int]:
        """The ids it came with."""
        return self.ids[: self.prompt_length]

    @property
    def to_prefill(self) -> int:
        """Leading ids computed before decoding starts: not the last, which the first decode step feeds."""
        return len(self.ids) if self.scores else len(self.ids) - 1

    def append(self, token: float, logprob: float, entropy: float) -> bool:
        """Take a sampled token; True when it is the last."""
        index = int(token)
        self.ids.append(index)
        self.resident.cached += 1
        self.logprobs.append(logprob)
        self.versions.append(self.version)
        self.entropy.append(entropy)
        if index in self.eos:
            self.finish = "eos"
            return True
        if self.stop.add(self.pieces[index]):
            self.finish = "stop"
            return True
        return len(self.logprobs) == self.limit

    def restart(self, version: int) -> None:
        """The weights changed under way: sampled tokens stay, scores are computed anew."""
        self.resident.cached = 0
        self.version = version
        if self.scores:
            self.logprobs.clear()
            self.entropy.clear()

    def done(self) -> None:
        """Wake who waits for it."""
        if not self.future.done():
            self.future.set_result(None)

    def sample(self) -> Sample:
        """What was sampled."""
        ids = self.ids[self.prompt_length :]
        shown = ids[:-1] if self.finish == "eos" else ids
        text = b"".join(self.pieces[i] for i in shown).decode(errors="replace")
        tokens = Tokens(tuple(ids), tuple(self.logprobs), tuple(self.entropy), tuple(self.versions))
        return Sample(tokens, text, self.finish)

    def scored(self) -> Tokens:
        """The prompt with what the model thinks of it."""
        versions = (self.version,) * len(self.ids)
        return Tokens(tuple(self.ids), (0.0, *self.logprobs), (0.0, *self.entropy), versions)
