"""The processes of a run: torchrun starts them, each with the same command, and each does its share."""

from __future__ import annotations

import os
import pickle
import threading
import zlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from agentgym.errors import ConfigError, PeerError

T = TypeVar("T")

PATIENCE = timedelta(days=7)
"""For a peer that plays longer; its episodes have deadlines of their own, and its death shows at once."""
STUCK = timedelta(hours=1)
"""For a peer in the middle of an update."""
TOLD = {
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE"),
    *("ROLE_RANK", "ROLE_WORLD_SIZE", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT"),
}
"""What torchrun tells a process by its environment."""


def rank() -> int:
    """This process's number; 0 is the one that writes and tells."""
    return int(os.environ["RANK"]) if _launched() else 0


def size() -> int:
    """How many processes torchrun has started; 1 without it. This and `rank` are for before they meet."""
    return int(os.environ["WORLD_SIZE"]) if _launched() else 1


def _launched() -> bool:
    """Whether by torchrun: schedulers of clusters set some of its variables for every process."""
    return {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"} <= os.environ.keys()


class Peers:
    """This process among its like. group: of torch.distributed, for what is exchanged beside updates. here: how
    many of those that have met are on this machine."""

    here = 1

    def __init__(self, rank: int = 0, size: int = 1, group: Any = None) -> None:
        self.rank, self.size, self._group = rank, size, group

    @classmethod
    def join(cls, device: str) -> Peers:
        """Meet those that torchrun started; alone without it. On GPUs each process sees its own from here on: call
        it before anything else asks for GPUs. Raises ConfigError where there are fewer than processes."""
        if not _launched():
            return cls()
        import torch.distributed as dist

        cls.here = int(os.environ["LOCAL_WORLD_SIZE"])
        cuda = not device.startswith("cpu") and _take_gpu(device)
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=STUCK)
        group = dist.new_group(backend="gloo", timeout=PATIENCE)
        _hide_from_children()
        return cls(dist.get_rank(), dist.get_world_size(), group)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes the run directory and tells how the run goes."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """This process's part of what all have the same."""
        return list(items[self.rank :: self.size])

    async def gather(self, name: str, own: T) -> list[T]:
        """What each process gives under this name, by rank. Under different names, in any order. Raises PeerError
        when another process has ended."""
        if self.size == 1:
            return [own]
        try:
            return await _in_thread(lambda: self._exchange(zlib.crc32(name.encode()) >> 1, own))
        except RuntimeError as error:
            raise PeerError(f"another process of this run has ended: it says why ({error})") from error

    async def agree(self, name: str, own: T) -> T:
        """What the first process says."""
        return (await self.gather(name, own))[0]

    def _exchange(self, tag: int, own: T) -> list[T]:
        """Each sends to each, with the tag; from a peer, messages of one tag come in their order."""
        import torch
        import torch.distributed as dist

        others = [peer for peer in range(self.size) if peer != self.rank]
        data = torch.frombuffer(bytearray(pickle.dumps(own)), dtype=torch.uint8)
        length = torch.tensor([len(data)])
        sent = [dist.isend(part, peer, self._group, tag) for peer in others for part in (length, data)]
        found = {self.rank: own}
        for peer in others:
            coming = torch.zeros(1, dtype=torch.int64)
            dist.recv(coming, peer, self._group, tag)
            told = torch.empty(int(coming), dtype=torch.uint8)
            dist.recv(told, peer, self._group, tag)
            found[peer] = pickle.loads(told.numpy().tobytes())
        for work in sent:
            if work is not None:
                work.wait()
        return [found[peer] for peer in range(self.size)]

    def leave(self) -> None:
        """At the end of a run that went well; waits for the others."""
        if self._group is not None:
            import torch.distributed as dist

            dist.barrier(self._group)
            dist.destroy_process_group()


ALONE = Peers()


def interleave(shares: Sequence[Sequence[T]]) -> list[T]:
    """What was shared out by `Peers.share`, in its order again."""
    return [shares[i % len(shares)][i // len(shares)] for i in range(sum(map(len, shares)))]


def _take_gpu(device: str) -> bool:
    """Let this process and its children see one GPU, its own; False where there is none and none was asked for."""
    import torch

    count, local = torch.cuda.device_count(), int(os.environ["LOCAL_RANK"])
    if not count:
        return False  # device=cuda is refused later, as it is for one process
    if ":" in device:
        raise ConfigError(f"device={device}: with several processes each takes a GPU of its own; use device=cuda")
    if (wanted := int(os.environ["LOCAL_WORLD_SIZE"])) > count:
        raise ConfigError(
            f"{wanted} processes need as many GPUs, and there are {count}: torchrun --nproc-per-node"
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[local]
    return True


def _hide_from_children() -> None:
    """What torchrun tells its processes: an engine's own would take themselves for peers."""
    for name in [*os.environ]:
        if name in TOLD or name.startswith("TORCHELASTIC_"):
            del os.environ[name]


async def _in_thread(job: Callable[[], T]) -> T:
    """In a thread that nobody waits for at the end: a peer may never answer it."""
    import asyncio  # here, as the next, since settings are read without them
    from concurrent.futures import Future

    done: Future[T] = Future()
    done.set_running_or_notify_cancel()  # who gives up waiting leaves the thread to itself

    def run() -> None:
        try:
            done.set_result(job())
        except Exception as error:
            done.set_exception(error)

    threading.Thread(target=run, name="agentgym-peers", daemon=True).start()
    return await asyncio.wrap_future(done)
