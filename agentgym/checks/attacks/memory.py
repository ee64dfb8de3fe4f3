"""Memory in every place where a limit on one process does not count it. All hold 1.2 to 1.5 GiB if they can."""

from __future__ import annotations

from agentgym.checks.attacks.attack import Attack
from agentgym.checks.attacks.judges import bounded, ends
from agentgym.checks.attacks.observe import private_memory, shared_memory, used_memory

MOST = 1 << 30
"""Bytes that a session may hold at most; open the sandbox with less."""

MOST_IN_PIPES = 640 << 20

ATTACKS = (
    Attack(
        "one large block",
        "a block above the limit ends as oom, or the program as killed",
        "block = bytearray(b'x') * (1536 << 20)",
        ends("oom", "killed"),
        needs="memory",
        alone=True,
    ),
    Attack(
        "several processes",
        "the processes of a session together hold 1 GiB at most",
        """
children = []
for _ in range(6):
    pid = os.fork()
    if pid == 0:
        try: block = bytearray(b'x') * (256 << 20)
        finally: time.sleep(2); os._exit(0)
    children.append(pid)
for pid in children: os.waitpid(pid, 0)
""",
        bounded(private_memory, MOST, "MiB"),
        needs="memory",
        alone=True,
    ),
    Attack(
        "memfd",
        "files in memory count as the session's",
        """
for i in range(6):
    memory = os.memfd_create(str(i))
    for _ in range(256): os.write(memory, b'x' * (1 << 20))
time.sleep(1)
""",
        bounded(shared_memory, MOST, "MiB"),
        needs="memory",
        alone=True,
    ),
    Attack(
        "shared mappings",
        "memory that processes share counts as the session's",
        """
import mmap
children = []
for _ in range(6):
    pid = os.fork()
    if pid == 0:
        shared = mmap.mmap(-1, 256 << 20)
        for at in range(0, 256 << 20, 4096): shared[at] = 1
        time.sleep(2)
        os._exit(0)
    children.append(pid)
for pid in children: os.waitpid(pid, 0)
""",
        bounded(shared_memory, MOST, "MiB"),
        needs="memory",
        alone=True,
    ),
    Attack(
        "tmpfs",
        "what is written to a file system in memory counts as the session's",
        """
mounts = [line.split() for line in open('/proc/self/mounts')]
paths = [f'{words[1]}/{mark}-{i}' for words in mounts if words[2] == 'tmpfs' for i in range(24)]
written = []
for path in paths:
    try:
        with open(path, 'wb') as file:
            written.append(path)
            for _ in range(64): file.write(b'x' * (1 << 20))
    except OSError: pass
    if len(written) == 24: break
time.sleep(0.5)
for path in written: os.remove(path)
""",
        bounded(shared_memory, MOST, "MiB"),
        needs="memory",
        alone=True,
    ),
    Attack(
        "pipe buffers",
        "what lies in pipes and socket buffers counts as the session's",
        """
import fcntl
children = []
for _ in range(12):
    pid = os.fork()
    if pid == 0:
        try:
            pipes = []
            for _ in range(100):
                pipes.append(os.pipe())
                fcntl.fcntl(pipes[-1][1], 1031, 1 << 20)  # F_SETPIPE_SZ
                os.set_blocking(pipes[-1][1], False)
                os.write(pipes[-1][1], b'x' * (1 << 20))
        finally: time.sleep(2); os._exit(0)
    children.append(pid)
for pid in children: os.waitpid(pid, 0)
""",
        bounded(used_memory, MOST_IN_PIPES, "MiB"),
        needs="memory",
        alone=True,
    ),
)
