"""A subject in a process of its own, which measures itself: `python process.py SUBJECT CORPUS QUERIES FOLDER`.

Its first answer is the seconds its index took. Each line of stdin asks for a measurement, `{"lanes": n,
"seconds": s}`, or, `{}`, for the memory of the process that searches.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import statistics
import sys
import time
from pathlib import Path

from subjects import endless, make


def memory(pid: int) -> dict[str, float]:
    """MiB: resident, shared files counted by their share, and what no other process has."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = {name: int(kib) / 1024 for name, kib in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}
    return {"rss": found["Rss"], "pss": found["Pss"], "unique": found["Private_Clean"] + found["Private_Dirty"]}


async def main(name: str, corpus: str, queries: str, folder: str) -> None:
    """Answer until nothing more is asked."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes elsewhere
    began = time.perf_counter()
    subject = await make(name, corpus, folder)
    print(json.dumps({"index": time.perf_counter() - began}), file=answers, flush=True)
    asking = endless(queries)
    try:
        while line := await asyncio.to_thread(sys.stdin.readline):
            asked = json.loads(line)
            if "seconds" in asked:
                began = time.perf_counter()
                taken = await subject.play(asked["lanes"], asking, began + asked["seconds"])
                wall = time.perf_counter() - began
                found = {"rate": len(taken) / wall, "ms": 1000 * statistics.median(taken)}
            else:
                found = memory(subject.pid)
            print(json.dumps(found), file=answers, flush=True)
    finally:
        await subject.close()


asyncio.run(main(*sys.argv[1:]))
