"""The descriptors between the host and one worker: made in pairs, one side kept, the other given away."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack


class Ends:
    """control: messages with the keeper. channel: requests and replies. out, err: what programs print.

    inodes: of out, err and channel on the other side, by which a worker is told from another.
    """

    def __init__(self) -> None:
        with ExitStack() as opened:  # closes what it has if the next is refused
            self.control, control = map(
                opened.enter_context, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            )
            self.channel, channel = map(opened.enter_context, socket.socketpair())
            self.out, out = self._pipe(opened)
            self.err, err = self._pipe(opened)
            opened.pop_all()
        for end in (self.control, self.channel):
            end.setblocking(False)
        self.given = [control.detach(), channel.detach(), out, err]
        self.inodes = [os.fstat(fd).st_ino for fd in (out, err, self.given[1])]  # which worker has which
        self.closed = False

    @staticmethod
    def _pipe(opened: ExitStack) -> tuple[int, int]:
        """A pipe whose reading end does not block."""
        ends = os.pipe()
        for end in ends:
            opened.callback(os.close, end)
        os.set_blocking(ends[0], False)
        return ends

    def give(self) -> list[int]:
        """The other side: control, channel, out, err. Whoever takes them closes them."""
        given, self.given = self.given, []
        return given

    def close(self) -> None:
        """Free what is still here, but for the control socket; may be called twice."""
        if not self.closed:
            self.closed = True
            self.channel.close()
            for descriptor in (self.out, self.err, *self.give()):
                os.close(descriptor)
