"""Threads for tools that are plain functions: they end with the interpreter, and a running call can be stopped."""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from agentgym.errors import ToolFailed

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

MAX_STUCK = 16
"""Calls of one tool that were cancelled and go on all the same, before further calls are refused."""
PATIENCE = 5.0
"""Seconds that a cancelled call may take to end before it counts as one of them."""
IDLE = 10.0
"""Seconds that a thread waits for another call before it ends."""


class Stopped(BaseException):
    """Raised inside of a call that was cancelled."""


@dataclass(eq=False, slots=True)
class _Job:
    work: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[tuple[Any, BaseException | None]]

    def report(self, value: Any, error: BaseException | None) -> None:
        """Hand over the outcome, unless nobody waits for it any more."""

        def settle() -> None:
            if not self.done.done():
                self.done.set_result((value, error))

        with contextlib.suppress(RuntimeError):  # the loop is closed: then nobody waits
            self.loop.call_soon_threadsafe(settle)


@dataclass(eq=False)
class _Worker:
    """One thread, and the job it is at."""

    threads: Threads
    inbox: queue.SimpleQueue[_Job] = field(default_factory=queue.SimpleQueue)
    lock: threading.Lock = field(default_factory=threading.Lock)
    job: _Job | None = None
    stopped: bool = False

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._live, name=f"tool {self.threads.name}", daemon=True)
        self.thread.start()

    def _live(self) -> None:
        try:
            while self._serve():
                pass
        except Stopped:  # whatever it was at: this thread takes no other call, so the exception can hit no other
            return

    def _serve(self) -> bool:
        """Do one job; False when none came for a while."""
        job = self._next()
        if job is None:
            return False
        value, error = None, None
        try:
            value = job.work()
        except Stopped:
            raise
        except BaseException as raised:
            error = raised
        with self.lock:
            self.job = None
            if self.stopped:
                raise Stopped
        job.report(value, error)
        return True

    def _next(self) -> _Job | None:
        try:
            return self.inbox.get(timeout=IDLE)
        except queue.Empty:
            return None if self.threads.retire(self) else self.inbox.get()

    def stop(self, job: _Job) -> bool:
        """Raise Stopped in the thread if it is still at `job`, and say whether it was."""
        with self.lock:
            if self.job is not job:
                return False
            self.stopped = True
            assert self.thread.ident is not None
            thread = ctypes.c_ulong(self.thread.ident)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(Stopped))
            return True


@dataclass(eq=False)
class Threads:
    """The threads of one tool, as many as it has calls at a time. patience: see PATIENCE."""

    name: str
    patience: float = PATIENCE
    _idle: list[_Worker] = field(default_factory=list, init=False)
    _cancelled: list[tuple[_Worker, float]] = field(default_factory=list, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises, called in a thread with this task's context variables. Cancelling raises
        Stopped in it. Raises ToolFailed when too many calls could not be stopped that way."""
        import asyncio

        if self._stuck() >= MAX_STUCK:
            raise ToolFailed(
                f"{self.name!r}: {MAX_STUCK} calls run on after they were cancelled, for they wait outside of "
                f"Python; give what they wait for a timeout of its own, or write a tool as `async def`"
            )
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        job = _Job(lambda: context.run(work), loop, loop.create_future())
        worker = self._worker()
        worker.job = job
        worker.inbox.put(job)
        try:
            value, error = await job.done
        except asyncio.CancelledError:
            if worker.stop(job):
                self._cancelled.append((worker, time.monotonic()))
            else:
                self._rest(worker)
            raise
        self._rest(worker)
        if error is not None:
            raise error
        result: T = value
        return result

    def _stuck(self) -> int:
        self._cancelled = [(worker, since) for worker, since in self._cancelled if worker.thread.is_alive()]
        return sum(time.monotonic() - since >= self.patience for _, since in self._cancelled)

    def _worker(self) -> _Worker:
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.thread.is_alive():  # none is in a process forked off this one
                    return worker
        return _Worker(self)

    def _rest(self, worker: _Worker) -> None:
        with self._lock:
            self._idle.append(worker)

    def retire(self, worker: _Worker) -> bool:
        """Whether `worker` may end: not when it is just being given a call."""
        with self._lock:
            if worker not in self._idle:
                return False
            self._idle.remove(worker)
            return True
