"""The worker's end of the result channel: four bytes of length (big-endian), then a JSON object."""

from __future__ import annotations

import array  # noqa: F401 - socket.recv_fds imports it, which each worker would else do for itself
import os
import socket
from json import dumps, loads
from typing import Any

MAX_DESCRIPTORS = 253  # the kernel's bound for one message


class Channel:
    """The result channel."""

    def __init__(self, descriptor: int) -> None:
        self.socket = socket.socket(fileno=descriptor)

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """The next request, and the descriptors that came along."""
        head, descriptors, _, _ = socket.recv_fds(self.socket, 4, MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
        size = int.from_bytes(head + self.read(4 - len(head)), "big")
        request: dict[str, Any] = loads(self.read(size))
        return request, descriptors

    def read(self, size: int) -> bytes:
        """`size` bytes from the host; leaves when it hung up."""
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                os._exit(0)
            data += part
        return data

    def send(self, reply: dict[str, Any]) -> None:
        """A frame to the host."""
        data = dumps(reply).encode()
        self.socket.sendall(len(data).to_bytes(4, "big") + data)
