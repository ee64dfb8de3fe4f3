"""Open files, which the whole machine shares. None opens more than 20,000."""

from __future__ import annotations

from agentgym.checks.attacks.attack import Attack
from agentgym.checks.attacks.judges import bounded
from agentgym.checks.attacks.observe import open_files

MOST = 10_000

OPEN = """
import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
"""

ATTACKS = (
    Attack(
        "open files",
        f"the processes of a session have {MOST:,} open files at most",
        OPEN
        + """
children = []
for _ in range(16):
    pid = os.fork()
    if pid == 0:
        try:
            for _ in range(1200): os.open('/dev/null', os.O_RDONLY)
        finally: time.sleep(1); os._exit(0)
    children.append(pid)
for pid in children: os.waitpid(pid, 0)
""",
        bounded(open_files, MOST, "open files"),
        alone=True,
    ),
    Attack(
        "files in flight",
        f"open files sent to sockets that nobody reads count too: {MOST:,} at most",
        OPEN
        + """
import array
kept = []
try:
    for _ in range(80):
        one, two = socket.socketpair()
        kept += [one, two]
        one.setblocking(False)
        fresh = [os.open('/dev/null', os.O_RDONLY) for _ in range(200)]
        one.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fresh))])
        for fd in fresh: os.close(fd)
except OSError: pass
time.sleep(1)
""",
        bounded(open_files, MOST, "open files"),
        alone=True,
    ),
)
