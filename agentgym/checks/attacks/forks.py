"""A session and its fork against each other. A fork may be refused, if the session goes on."""

from __future__ import annotations

from agentgym.checks.attacks.attack import SECONDS, Arena, Attack, Judge, expect_status
from agentgym.checks.sandbox import expect_output
from agentgym.errors import SandboxError


def apart(attack: str, state: str, seen: str) -> Judge:
    """`attack`, run in the fork and then, on a new pair, in the parent, leaves the other's `state` at `seen`."""

    async def judge(arena: Arena, program: str) -> str:
        for fork_attacks in (True, False):
            parent = await arena.open()
            expect_status(await arena.attack(parent, program), "ok")
            try:
                fork = await arena.fork(parent)
            except SandboxError as error:
                expect_output(
                    await parent.run(f"print(({state}))", SECONDS),
                    seen,
                    "a session goes on when its fork is refused",
                )
                return f"the fork is refused: {error}"[:200]
            attacker, victim = (fork, parent) if fork_attacks else (parent, fork)
            await arena.attack(attacker, attack, timeout=5.0)
            side = "the parent" if fork_attacks else "the fork"
            expect_output(await victim.run(f"print(({state}))", SECONDS), seen, f"{side} is not touched")
        return "both ways"

    return judge


HUNT = """
for pid in (int(pid) for pid in os.listdir('/proc') if pid.isdigit()):
    try:
        if open(f'/proc/{pid}/comm').read().strip() == mark and pid != os.getpid(): REACH
    except OSError: pass
"""

TRACE = "libc.ptrace(16, pid, 0, 0) or (os.waitpid(pid, 0), libc.ptrace(8, pid, 0, 0), os.waitpid(pid, 0))"
"""PTRACE_ATTACH and PTRACE_KILL."""

ATTACKS = (
    Attack(
        "signals",
        "neither kills the other, nor finds its process",
        "kept = 1",
        apart(HUNT.replace("REACH", "os.kill(pid, signal.SIGKILL)"), "kept", "1"),
        needs="fork",
    ),
    Attack(
        "files by way of /proc",
        "neither reaches the other's working directory",
        "open('file', 'w').write('mine')",
        apart(
            HUNT.replace("REACH", "open(f'/proc/{pid}/cwd/file', 'w').write('theirs')"),
            "open('file').read()",
            "mine",
        ),
        needs="fork",
    ),
    Attack(
        "files",
        "neither's writes, deletions and links reach the other",
        "open('file', 'w').write('mine'); os.mkdir('folder'); open('folder/file', 'w').write('1')",
        apart(
            "open('file', 'r+').write('theirs'); os.remove('folder/file'); os.symlink('file', 'link')",
            "open('file').read(), sorted(os.listdir('.'))",
            "('mine', ['file', 'folder'])",
        ),
        needs="fork",
    ),
    Attack(
        "shared memory",
        "memory that is meant to be shared is not",
        "import mmap\nshared = mmap.mmap(-1, 4096)\nshared[0] = 1",
        apart("shared[0] = 2", "shared[0]", "1"),
        needs="fork",
    ),
    Attack(
        "a mapped file",
        "a mapped file is each one's own",
        """
import mmap
open('file', 'w').write('mine')
file = open('file', 'r+b')
shared = mmap.mmap(file.fileno(), 4)
""",
        apart("shared[:4] = b'THEY'; shared.flush()", "bytes(shared), open('file').read()", "(b'mine', 'mine')"),
        needs="fork",
    ),
    Attack(
        "offsets of open files",
        "reading and writing moves nobody else's place in a file",
        "open('file', 'w').write('0123456789')\nfile = open('file', 'r+b', 0)\n_ = file.read(3)",
        apart(
            "file.seek(0); file.write(b'xxxxxxxxx'); file.truncate(5)", "file.tell(), file.read(3)", "(3, b'345')"
        ),
        needs="fork",
    ),
    Attack(
        "a deleted file",
        "an open file without a name is each one's own",
        "import tempfile\nfile = tempfile.TemporaryFile(buffering=0)\n_ = file.write(b'mine')",
        apart("os.pwrite(file.fileno(), b'THEY', 0)", "os.pread(file.fileno(), 4, 0)", "b'mine'"),
        needs="fork",
    ),
    Attack(
        "pipes",
        "a pipe does not join the two",
        "reader, writer = os.pipe()\nos.set_blocking(reader, False)\n_ = os.write(writer, b'1')",
        apart("os.write(writer, b'2')", "os.read(reader, 9)", "b'1'"),
        needs="fork",
    ),
    Attack(
        "locks and queues of the system",
        "a socket pair and a semaphore do not join the two",
        "one, two = socket.socketpair()\ntwo.setblocking(False)\n_ = one.send(b'1')",
        apart("one.send(b'2')", "two.recv(9)", "b'1'"),
        needs="fork",
    ),
    Attack(
        "tracing",
        "neither traces the other",
        "kept = 1",
        apart(HUNT.replace("REACH", TRACE), "kept", "1"),
        needs="fork",
    ),
)
