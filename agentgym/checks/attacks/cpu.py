"""Programs that never end, or that take the processors from others."""

from __future__ import annotations

from agentgym.checks.attacks.attack import SECONDS, Arena, Attack, expect_gone, expect_status
from agentgym.checks.attacks.judges import ends
from agentgym.checks.harness import expect

LEAST_SHARE = 0.2
"""Of one processor, for a program beside 16 busy processes of another session."""

BUSY_CHILDREN = """
for _ in range(16):
    if os.fork() == 0:
        end = time.monotonic() + 5
        while time.monotonic() < end: pass
        os._exit(0)
"""

WORK = """
import time
wall, used = time.monotonic(), time.process_time()
while time.monotonic() < wall + 2: pass
print((time.process_time() - used) / 2)
"""


async def ends_with_children(arena: Arena, program: str) -> str:
    session = await arena.open()
    result = await arena.attack(session, program, timeout=1.0)
    expect_status(result, "timeout")
    await expect_gone(arena.mark, "after the deadline")
    return "all of them dead after the deadline"


async def leaves_a_share(arena: Arena, program: str) -> str:
    busy, honest = await arena.open(), await arena.open()
    await arena.attack(busy, program)
    result = await honest.run(WORK, SECONDS)
    share = float(result.stdout)
    expect(share >= LEAST_SHARE, f"a program beside them gets {share:.0%} of a processor")
    return f"a program beside them gets {share:.0%} of a processor"


ATTACKS = (
    Attack(
        "endless loop",
        "it ends as timeout and the session starts anew",
        "while True: pass",
        ends("timeout", timeout=1.0),
    ),
    Attack(
        "endless loop in C",
        "a call that never gives the interpreter back ends as timeout all the same",
        "re.match('(a+)+$', 'a' * 64 + 'b')",
        ends("timeout", timeout=1.0),
    ),
    Attack(
        "deaf to signals",
        "a program that ignores every signal and catches every exception ends as timeout",
        """
for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}: signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
while True:
    try:
        while True: pass
    except BaseException: pass
""",
        ends("timeout", timeout=1.0),
    ),
    Attack(
        "faked clock",
        "the deadline is the host's, whatever the program's clock says",
        "time.time = time.monotonic = time.perf_counter = lambda: 0.0\ntime.sleep(1e6)",
        ends("timeout", timeout=1.0),
    ),
    Attack(
        "busy children",
        "at the deadline the children of a program end with it",
        BUSY_CHILDREN + "while True: pass",
        ends_with_children,
        needs="processes",
    ),
    Attack(
        "starved neighbours",
        f"beside 16 busy processes of one session another gets {LEAST_SHARE:.0%} of a processor",
        BUSY_CHILDREN,
        leaves_a_share,
        needs="cpu",
        alone=True,
    ),
)
