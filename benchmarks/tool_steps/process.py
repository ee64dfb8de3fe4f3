"""A subject in a process of its own, which measures itself: `python process.py MODULE [ARGUMENT...]`.

Each line of stdin asks for a measurement: `{"lanes": n, "seconds": s}` is answered by steps, seconds and processor
seconds, and by percentiles of a step's latency; `{}` by the bytes of an idle episode.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import resource
import statistics
import sys
import time
import tracemalloc
from typing import Any

from episode import Subject


async def measure(subject: Subject, lanes: int, seconds: float) -> dict[str, float]:
    """After one round of episodes that does not count."""
    await subject.play(lanes, 0.0)
    gc.collect()
    began, spent = time.perf_counter(), time.process_time()
    taken = await subject.play(lanes, began + seconds)
    wall, cpu = time.perf_counter() - began, time.process_time() - spent
    cuts = statistics.quantiles(taken, n=100)
    return {"steps": len(taken), "wall": wall, "cpu": cpu, "p50": cuts[49], "p99": cuts[98]}


async def weigh(subject: Subject) -> dict[str, float | None]:
    """Bytes that Python allocates for an idle episode. None where they lie in another process."""
    if not subject.idlers:
        return {"bytes": None}
    kept = [await subject.idle()]  # with what all share
    gc.collect()
    tracemalloc.start()
    kept += [await subject.idle() for _ in range(subject.idlers)]
    gc.collect()
    found = tracemalloc.get_traced_memory()[0] / subject.idlers
    tracemalloc.stop()
    return {"bytes": found}


async def main() -> None:
    """Answer until nothing more is asked."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes elsewhere
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    subject: Subject = importlib.import_module(f"subjects.{sys.argv[1]}").make(*sys.argv[2:])
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked: dict[str, Any] = json.loads(line)
        found = await (measure(subject, **asked) if asked else weigh(subject))
        print(json.dumps(found), file=answers, flush=True)
    await subject.close()
    os._exit(0)  # what is idle is not worth the time to end it


if __name__ == "__main__":
    asyncio.run(main())
