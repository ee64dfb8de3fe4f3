"""The host's end of a session's control socket: asks its keeper, and learns how the session ended."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Iterable
from typing import Any, Literal

from agentgym.errors import SandboxError
from agentgym.sandboxes.hosting.waiting import WorkerProcess

How = Literal["exited", "killed", "setup", "lost"]
"""How a session ended: by itself, by a signal, before it began, or unknown because the fork server is gone."""


class Control:
    """`exit` resolves when nothing of the session is left, `worker` with its worker once that is known."""

    def __init__(self, end: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = end
        self.worker: asyncio.Future[WorkerProcess] = self._loop.create_future()
        self._answer: asyncio.Future[tuple[dict[str, Any], list[int]]] | None = None
        self.exit: asyncio.Future[How] = self._loop.create_future()
        self._loop.add_reader(end, self._receive)

    async def ask(
        self, message: dict[str, Any], descriptors: Iterable[int] = ()
    ) -> tuple[dict[str, Any], list[int]]:
        """The keeper's answer, and the descriptors that come with it. Raises SandboxError when it has ended."""
        self._answer = self._loop.create_future()
        try:
            socket.send_fds(self._end, [json.dumps(message).encode()], list(descriptors))
        except OSError as error:
            raise SandboxError(f"the session's keeper cannot be asked: {error.strerror}") from error
        waiting: list[asyncio.Future[Any]] = [self._answer, self.exit]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not self._answer.done():
            raise SandboxError(f"the session ended meanwhile ({self.exit.result()})")
        return self._answer.result()

    def hang_up(self) -> None:
        """Order the session's end; `exit` tells when."""
        try:
            self._end.shutdown(socket.SHUT_WR)
        except OSError:  # it has ended already
            return

    def leave(self) -> None:
        """Stop listening, and free the socket."""
        self._loop.remove_reader(self._end)
        self._end.close()
        self.worker.cancel()

    def _receive(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._end, 4096, 253, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data, descriptors = b"", []
        if not data:
            self._end_with("lost")
            return
        message = json.loads(data)
        if "exit" in message:
            self._end_with(message["exit"])
        elif "worker" in message and not self.worker.done():
            [pidfd] = descriptors
            self.worker.set_result(WorkerProcess(pidfd))
            os.close(pidfd)
        elif self._answer is not None and not self._answer.done():
            self._answer.set_result((message, descriptors))
        else:
            for descriptor in descriptors:
                os.close(descriptor)

    def _end_with(self, how: How) -> None:
        self.leave()
        if not self.exit.done():
            self.exit.set_result(how)
