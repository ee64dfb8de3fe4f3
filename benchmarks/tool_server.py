"""Latency and throughput of the tool server: python benchmarks/tool_server.py [WORKERS]

Each of CONCURRENCY trajectories sends its actions one after the other over a connection of its own, as a trainer's
agent loops do, all of them in one process beside the server; a tool adds up what it is given, so that every answer
shows whether the state was kept. router: the router's own processor time an action.
"""

from __future__ import annotations

import asyncio
import functools
import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from statistics import quantiles

from agentgym.tools.serving.server import running
from agentgym.tools.serving.settings import ServeTools

CONCURRENCY = (1, 64, 256)
ACTIONS = 6000
"""Of all trajectories together."""


class Total:
    """A tool with state."""

    def __init__(self) -> None:
        self.total = 0

    def fork(self) -> Total:
        twin = Total()
        twin.total = self.total
        return twin

    async def __call__(self, number: str) -> str:
        """Add a number to the total."""
        self.total += int(number)
        return str(self.total)


async def play(port: int, id: str, actions: int) -> list[float]:
    """Milliseconds of each action."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    times = []
    for turn in range(1, actions + 1):
        sent = {"trajectory_ids": [id], "actions": ["<total>1</total>"], "is_last_step": [turn == actions]}
        body = json.dumps(sent).encode()
        began = time.perf_counter()
        writer.write(b"POST /get_observation HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        answer = json.loads(await reader.readexactly(length))
        times.append(1e3 * (time.perf_counter() - began))
        assert answer["observations"] == [f"\n<result>\n{turn}\n</result>\n"], answer
    writer.close()
    await writer.wait_closed()
    return times


def load(port: int, concurrency: int) -> tuple[float, list[float]]:
    """Actions a second, and the milliseconds of each."""

    async def everyone() -> list[list[float]]:
        actions = max(8, ACTIONS // max(concurrency, 6))
        return await asyncio.gather(*(play(port, f"{concurrency} {i}", actions) for i in range(concurrency)))

    began = time.perf_counter()
    times = [ms for one in asyncio.run(everyone()) for ms in one]
    return len(times) / (time.perf_counter() - began), times


async def main(workers: int) -> None:
    settings = ServeTools(tools=f"{__file__}:Total", port=0, workers=workers)
    print(f"{workers} workers\n{'concurrency':>11} {'actions/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'router ms':>9}")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as trainer:
        async with running(settings) as url:
            for concurrency in CONCURRENCY:
                work = functools.partial(load, int(url.rpartition(":")[2]), concurrency)
                spent = time.process_time()
                rate, times = await asyncio.get_running_loop().run_in_executor(trainer, work)
                spent, cuts = 1e3 * (time.process_time() - spent) / len(times), quantiles(times, n=100)
                row = f"{concurrency:>11} {rate:>10.0f} {cuts[49]:>8.1f} {cuts[98]:>8.1f} {spent:>9.2f}"
                print(row, flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2))
