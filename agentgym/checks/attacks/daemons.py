"""Processes meant to stay. All end by themselves after half a minute at most."""

from __future__ import annotations

from agentgym.checks.attacks.attack import Arena, Attack, expect_gone
from agentgym.checks.attacks.judges import leaves_nothing
from agentgym.checks.harness import expect

NOTHING = "when the session is closed, nothing of it runs on the host"


async def dies_with_the_run(arena: Arena, program: str) -> str:
    """A run that ends the session ends its daemons, before it is closed."""
    session = await arena.open()
    result = await arena.attack(session, program, timeout=1.0)
    expect(result.status != "ok", "the program should not have finished")
    await expect_gone(arena.mark, f"after the run ended as {result.status}")
    return f"none left after {result.status}"


DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}: signal.signal(number, signal.SIG_IGN)
        time.sleep(30)
    os._exit(0)
_ = os.wait()
"""

ATTACKS = (
    Attack("a daemon", NOTHING, DAEMON, leaves_nothing, needs="processes"),
    Attack(
        "a daemon after an exit",
        "a program that leaves takes its daemons along",
        DAEMON + "os._exit(0)",
        dies_with_the_run,
        needs="processes",
    ),
    Attack(
        "a daemon after the deadline",
        "a deadline ends a program's daemons with it",
        DAEMON + "while True: time.sleep(1)",
        dies_with_the_run,
        needs="processes",
    ),
    Attack(
        "a fleeing process",
        "a process that forks and leaves, over and over, is caught",
        """
if os.fork() == 0:
    end = time.monotonic() + 8
    while time.monotonic() < end:
        if os.fork(): os._exit(0)
        os.setsid()
        time.sleep(0.001)
    os._exit(0)
""",
        leaves_nothing,
        needs="processes",
    ),
    Attack(
        "a shell's background jobs",
        NOTHING,
        """
jobs = f'(nohup setsid sleep 30 & exec nohup sleep 30) > /dev/null 2>&1; : {mark}'
shell = subprocess.Popen(['sh', '-c', jobs])
""",
        leaves_nothing,
        needs="processes",
    ),
    Attack(
        "a traced and stopped process",
        "stopped processes go with the session too",
        """
for _ in range(4):
    pid = os.fork()
    if pid == 0:
        libc.ptrace(0, 0, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(30)
        os._exit(0)
""",
        leaves_nothing,
        needs="processes",
    ),
)
