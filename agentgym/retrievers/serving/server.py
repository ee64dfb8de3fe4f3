"""Runs a retriever's server until it is told to stop."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

from agentgym.config import build
from agentgym.retriever import RetrieverConfig
from agentgym.retrievers.serving.app import make_app
from agentgym.retrievers.serving.metrics import RetrieverMetrics
from agentgym.retrievers.serving.settings import ServeRetriever
from agentgym.serving.loop import serve_until_told, serving


@contextlib.asynccontextmanager
async def running(settings: ServeRetriever) -> AsyncIterator[str]:
    """A server; its URL. Afterwards its retriever is closed. Raises ConfigError, and what the retriever raises."""
    token = settings.find_token()
    config: RetrieverConfig = build("retriever", settings.retriever)
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(settings.listen())
        retriever = await config.open()
        stack.push_async_callback(retriever.close)
        app = make_app(retriever, settings, token, RetrieverMetrics())
        yield await stack.enter_async_context(serving(app, listener, http="auto"))


async def serve(settings: ServeRetriever, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM. say: told the address."""
    await serve_until_told(running(settings), say)
