"""What live components share within one run: opened on first use, closed together.

A sandbox's fork server or the answer checker's workers are expensive to start and cheap to share. Their
config (a hashable frozen dataclass with `async open()`) is the key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from agentgym.vocabulary import Vocabulary

if TYPE_CHECKING:
    import asyncio

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class ServiceConfig(Protocol[T_co]):
    """A hashable config that can open the live thing it describes; the live thing has `async close()`."""

    async def open(self) -> T_co: ...


class Services:
    """The open services of one run. vocabulary: of the policy that plays in it."""

    def __init__(self, vocabulary: Vocabulary | None = None) -> None:
        self.vocabulary = vocabulary or Vocabulary()
        self._open: dict[Any, asyncio.Task[Any]] = {}

    async def get(self, config: ServiceConfig[T]) -> T:
        """The live service for `config`, opened once."""
        import asyncio

        if config not in self._open:
            self._open[config] = asyncio.ensure_future(config.open())
        opening = self._open[config]
        try:
            service: T = await asyncio.shield(opening)
        except BaseException:
            failed = opening.done() and (opening.cancelled() or opening.exception() is not None)
            if failed and self._open.get(config) is opening:  # it may be tried again
                del self._open[config]
            raise
        return service

    def join(self, user: object) -> None:
        """`user` begins to share these services. A run owns its services and closes them itself."""

    async def leave(self, user: object) -> None:
        """`user` is done with them; may be called twice."""

    async def close(self) -> None:
        """Close every service, last opened first, and break off what is still opening; the first error is raised
        after all are closed."""
        import asyncio

        errors: list[BaseException] = []
        while self._open:
            _, opening = self._open.popitem()
            opening.cancel()
            await asyncio.wait([opening])
            if opening.cancelled() or opening.exception():  # there is nothing to close; who asked for it was told
                continue
            try:
                await opening.result().close()
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    async def __aenter__(self) -> Services:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
