"""Fork bombs and threads. None makes more than 600."""

from __future__ import annotations

from agentgym.checks.attacks.attack import Attack
from agentgym.checks.attacks.judges import bounded
from agentgym.checks.attacks.observe import count_threads, processes

MOST = 256
"""Processes and threads of a session, seen from the host."""

ATTACKS = (
    Attack(
        "fork bomb",
        f"a session has {MOST} processes at most",
        """
for _ in range(500):
    try:
        if os.fork() == 0: time.sleep(8); os._exit(0)
    except OSError: break
time.sleep(0.5)
""",
        bounded(count_threads, MOST),
        needs="process count",
        alone=True,
    ),
    Attack(
        "doubling fork bomb",
        f"processes that all fork come to {MOST} at most",
        """
parent = os.getpid()
for _ in range(9):
    try: os.fork()
    except OSError: pass
time.sleep(1)
if os.getpid() != parent: os._exit(0)
""",
        bounded(count_threads, MOST),
        needs="process count",
        alone=True,
    ),
    Attack(
        "thread bomb",
        f"threads count like processes: {MOST} at most",
        """
threading.stack_size(65536)
for _ in range(500):
    try: threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
    except (RuntimeError, MemoryError): break
time.sleep(0.5)
""",
        bounded(count_threads, MOST),
        needs="process count",
        alone=True,
    ),
    Attack(
        "zombies",
        f"processes that nobody waits for count too: {MOST} at most",
        """
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
for _ in range(500):
    try:
        if os.fork() == 0: os._exit(0)
    except OSError: break
time.sleep(0.5)
""",
        bounded(lambda mark: len(processes(mark)), MOST),
        needs="process count",
        alone=True,
    ),
)
