"""What comes back from a replay: the last step's share of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import msgspec

from agentgym.errors import SandboxError
from agentgym.sandbox import Status


@dataclass(frozen=True, slots=True)
class Reply:
    """How the last step says that it ended. Written beside the program, which can forge it."""

    status: Literal["ok", "error", "oom", "killed", "os", "absent", "diverged"]
    seconds: float = 0.0
    errno: int = 0
    text: str = ""


class Ran(NamedTuple):
    """What came of the last step. reply: None when the program left before its end. outcome: the server's."""

    stdout: str
    stderr: str
    reply: Reply | None
    outcome: dict[str, Any]
    files: dict[str, str]

    @property
    def status(self) -> Status:
        """How the program ended."""
        if self.outcome["status"] == "TimeLimitExceeded":
            return "timeout"
        if self.reply is not None:
            return self.reply.status if self.reply.status in ("ok", "error", "oom") else "killed"
        code = self.outcome.get("return_code") or 0
        return "killed" if code < 0 or code > 128 else "exited"  # as Python and as a shell tell of a signal

    @property
    def seconds(self) -> float:
        """Wall time of the program; of the whole replay when it did not come to its end."""
        return self.reply.seconds if self.reply is not None else float(self.outcome.get("execution_time") or 0.0)


def read_run(nonce: str, outcome: dict[str, Any], files: dict[str, str]) -> Ran:
    """Take the last step out of a run; raises SandboxError when it was not come to."""
    mark = f"{nonce}\n"
    streams = [outcome.get("stdout") or "", outcome.get("stderr") or ""]
    if not any(mark in stream for stream in streams):
        how = outcome["status"], outcome.get("return_code"), streams[1][-300:]
        raise SandboxError("the replay did not come to its end: {}, return code {}: {}".format(*how))
    stdout, stderr = (stream.partition(mark)[2] if mark in stream else stream for stream in streams)
    text, found, told = stderr.rpartition(nonce)
    if not found:
        return Ran(stdout, stderr, None, outcome, files)
    try:
        reply = msgspec.json.decode(told, type=Reply)
    except msgspec.MsgspecError:
        reply = Reply("killed")  # forged
    if reply.status == "diverged":
        raise SandboxError(f"replay diverged: {reply.text}")
    return Ran(stdout, text, reply, outcome, files)
