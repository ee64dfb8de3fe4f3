"""What a run leaves to happen in a later one. Each goes off within a second."""

from __future__ import annotations

from agentgym.checks.attacks.attack import Arena, Attack, tail
from agentgym.checks.attacks.judges import MOST_KEPT
from agentgym.checks.harness import Broken, expect

LATER = """
import time
end = time.monotonic() + 1.5
while time.monotonic() < end: time.sleep(0.05)
print('later')
"""


async def told(arena: Arena, program: str) -> str:
    """The run in which it goes off tells how it ended; what comes then begins anew, says so, and goes on."""
    session = await arena.open()
    await arena.attack(session, program + "\nkept = 1", timeout=5.0)
    statuses: list[str] = []
    for _ in range(4):
        result = await session.run(LATER, timeout=3.0)
        lost = bool(statuses) and statuses[-1] not in ("ok", "error")
        expect(result.restarted or not lost, f"after {statuses[-1:]} a run does not say `restarted`")
        statuses.append(result.status)
        expect(len(result.stdout) <= MOST_KEPT, f"{len(result.stdout)} characters of its output were kept")
        if result.status == "ok" and result.stdout.strip().endswith("later"):
            seen = await session.run("print('kept' in globals())")
            fresh = result.restarted or lost
            expect(seen.stdout.strip() == str(not fresh), "the session lost its state without a word")
            return f"later runs ended as {', '.join(statuses)}"
    raise Broken(f"the session is of no more use: {', '.join(statuses)}: {tail(result)}")


TOLD = "the run in which it goes off says how it ended, and the session goes on or says that it began anew"

ATTACKS = (
    Attack("an alarm", TOLD, "signal.alarm(1)", told),
    Attack("a timer that exits", TOLD, "threading.Timer(0.7, os._exit, (0,)).start()", told),
    Attack("a timer that kills", TOLD, "threading.Timer(0.7, os.kill, (os.getpid(), 9)).start()", told),
    Attack(
        "a timer that raises",
        TOLD,
        """
def raises(*args): raise SystemExit('from the run before')
signal.signal(signal.SIGALRM, raises)
signal.setitimer(signal.ITIMER_REAL, 0.7, 0.3)
""",
        told,
    ),
    Attack(
        "a watchdog",
        TOLD,
        "import faulthandler\nfaulthandler.dump_traceback_later(0.7, exit=True, file=open(os.devnull, 'w'))",
        told,
    ),
    Attack(
        "a thread that floods",
        TOLD,
        """
def flood():
    time.sleep(0.5)
    for _ in range(1 << 10): os.write(1, b'x' * 65536)
threading.Thread(target=flood, daemon=True).start()
""",
        told,
    ),
    Attack(
        "a stop",
        TOLD,
        "threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGSTOP)).start()",
        told,
    ),
)
