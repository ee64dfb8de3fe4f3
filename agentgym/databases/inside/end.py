"""A process's end of its socket to the host; when the host has hung up, the process ends."""

from __future__ import annotations

import os
import socket
from typing import Any

from agentgym.databases.wire import HEAD, frame, unframe

AT_ONCE = 1 << 20


class End:
    """descriptor: of the socket."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=descriptor)

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """The next message, and what came along."""
        head, descriptors, _, _ = socket.recv_fds(self._socket, HEAD, 1)
        size = int.from_bytes(head + self._read(HEAD - len(head)), "big")
        return unframe(self._read(size)), descriptors

    def send(self, message: dict[str, Any]) -> None:
        """A message to the host."""
        try:
            self._socket.sendall(frame(message))
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)

    def close(self) -> None:
        """Leave it to the other process that has it."""
        self._socket.close()

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                part = self._socket.recv(min(size - len(data), AT_ONCE))
            except ConnectionResetError:
                part = b""
            if not part:
                os._exit(0)
            data += part
        return bytes(data)
