"""The host's end of a fork server: start it, ask it for sessions, notice its death."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import tempfile
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from agentgym.errors import SandboxError
from agentgym.sandboxes.hosting.launch import Mode, command, environment

if TYPE_CHECKING:
    from agentgym.sandboxes.local import Local

START_SECONDS = 60.0
STOP_SECONDS = 10.0


def remove_folder(path: str) -> None:
    """Delete a bare fork server's folder, which it does itself unless it was killed."""
    if os.path.isdir(path):
        shutil.rmtree(path)


class ForkServerLink:
    """A running fork server."""

    def __init__(
        self, process: asyncio.subprocess.Process, control: socket.socket, mode: Mode, directory: str
    ) -> None:
        self.process = process
        self.mode = mode
        self.directory = directory
        self.dead = False
        self._loop = asyncio.get_running_loop()
        self._control = control
        self._ready: asyncio.Future[bool] = self._loop.create_future()
        self._outbox: deque[list[int]] = deque()
        self._stderr: asyncio.Future[bytes] | None = None
        control.setblocking(False)
        self._loop.add_reader(control, self._receive)
        # A fork server below a killed bwrap learns of it from us only; asyncio would tell once its stderr closes.
        self._pidfd: int | None = None
        with suppress(ProcessLookupError):  # ended and reaped already; the control socket tells
            self._pidfd = os.pidfd_open(process.pid)
            self._loop.add_reader(self._pidfd, self._lose)

    @classmethod
    async def start(cls, config: Local, mode: Mode) -> ForkServerLink:
        """Launch and wait until ready; raises SandboxError with the fork server's last words."""
        directory = tempfile.mkdtemp(prefix="agentgym-") if mode == "none" else ""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            process = await asyncio.create_subprocess_exec(
                *command(config, mode, directory),
                stdin=theirs.fileno(),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env=environment(),
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            remove_folder(directory)
            raise
        finally:
            theirs.close()
        link = cls(process, ours, mode, directory)
        try:
            async with asyncio.timeout(START_SECONDS):
                ready = await link._ready
        except BaseException:
            await link.close()
            raise
        if not ready:
            reason = await link.last_words()
            await link.close()
            raise SandboxError(f"the fork server did not start ({mode}): {reason}")
        return link

    def spawn(self, descriptors: list[int]) -> None:
        """Ask for a session on descriptors (control, channel, stdout, stderr, those of cgroups), which are closed
        here once sent."""
        self._outbox.append(descriptors)
        if self.dead:
            self._drop_outbox()
        self._send()

    async def last_words(self) -> str:
        """What a fork server that has died wrote to stderr, its last 2,000 characters."""
        if self._stderr is None:  # every session that was in flight asks, and only one can read
            assert self.process.stderr is not None
            self._stderr = asyncio.ensure_future(self.process.stderr.read())
        text = (await asyncio.shield(self._stderr)).decode(errors="replace").strip()
        return text[-2000:] or f"exit status {await self.process.wait()}"

    async def close(self) -> None:
        """End it and every session; returns when the process is gone. May be called twice."""
        self._lose()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self.process.wait()
        except TimeoutError:
            self._kill()
        await self.last_words()  # to the end, which closes the pipe
        await asyncio.to_thread(remove_folder, self.directory)

    def _kill(self) -> None:
        """End a fork server that does not leave. bwrap, which is another user's, cannot take its own along."""
        pid = self.process.pid
        with suppress(FileNotFoundError, ProcessLookupError):  # it left at last
            below_bwrap = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            for server in map(int, below_bwrap) if self.mode == "bubblewrap" else [pid]:
                os.kill(server, signal.SIGKILL)

    def _send(self) -> None:
        """Send what the socket takes; the rest follows when it takes more."""
        while self._outbox and not self.dead:
            descriptors = self._outbox[0]
            try:
                socket.send_fds(self._control, [b"{}"], descriptors)
            except BlockingIOError:
                self._loop.add_writer(self._control, self._send)
                return
            except (BrokenPipeError, ConnectionResetError):
                self._lose()
                return
            self._outbox.popleft()
            for descriptor in descriptors:
                os.close(descriptor)
        self._loop.remove_writer(self._control)

    def _receive(self) -> None:
        try:
            data = self._control.recv(4096)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            self._lose()
            return
        self._ready.set_result(True)

    def _lose(self) -> None:
        """The connection is over."""
        if self.dead:
            return
        self.dead = True
        self._loop.remove_reader(self._control)
        self._loop.remove_writer(self._control)
        self._control.close()
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
        self._drop_outbox()
        if not self._ready.done():
            self._ready.set_result(False)

    def _drop_outbox(self) -> None:
        for descriptors in self._outbox:
            for descriptor in descriptors:
                os.close(descriptor)
        self._outbox.clear()
