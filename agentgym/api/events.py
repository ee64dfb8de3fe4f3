"""Server-sent events, as far as OpenAI-like servers use them."""

from __future__ import annotations

from collections.abc import Iterator


class Events:
    """The data of each event of a stream that arrives in parts. ended: its last event has come.

    Lines end with a line feed alone: what else Unicode takes for an end of line may stand within JSON.
    """

    def __init__(self) -> None:
        self.ended = False
        self._rest = b""

    def feed(self, part: bytes) -> Iterator[bytes]:
        """What is complete now."""
        *lines, self._rest = (self._rest + part).split(b"\n")
        for line in lines:
            data = line.removeprefix(b"data:").strip() if line.startswith(b"data:") else b""
            if data == b"[DONE]":
                self.ended = True
            elif data and not self.ended:
                yield data
