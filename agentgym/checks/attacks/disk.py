"""Files: too many bytes, too many names, trees that cannot be deleted, results that are no files."""

from __future__ import annotations

import resource

from agentgym.checks.attacks.attack import Arena, Attack, expect_status
from agentgym.checks.attacks.judges import bounded
from agentgym.checks.attacks.observe import used_disk
from agentgym.checks.harness import Broken, expect
from agentgym.errors import SandboxError

MOST = 512 << 20
MOST_FILES = 65_536
MOST_READ = 256 << 20

COUNT = """
print(sum(len(files) for _, _, files in os.walk('.')))
"""

TRAPS = """
os.symlink(host['folder'] + '/secret', 'link')
os.symlink(host['folder'], 'folder')
os.symlink(host['folder'] + '/written', 'out')
"""


async def few_files(arena: Arena, program: str) -> str:
    session = await arena.open()
    await arena.attack(session, program)
    result = await arena.attack(session, COUNT)
    expect_status(result, "ok")
    count = int(result.stdout)
    expect(count <= MOST_FILES, f"{count} files in the working directory, over {MOST_FILES}")
    return f"{count} files"


async def closes(arena: Arena, program: str) -> str:
    session = await arena.open()
    expect_status(await arena.attack(session, program), "ok")
    await session.close()
    return "closed, and deleted with the host"


async def reads_bounded(arena: Arena, program: str) -> str:
    session = await arena.open()
    expect_status(await arena.attack(session, program), "ok", "error")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        data = await session.read("huge")
    except (OSError, SandboxError) as error:
        reason = str(error)
    else:
        expect(len(data) <= MOST_READ, f"{len(data)} bytes of a sparse file came to the host")
        reason = f"{len(data)} bytes"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    expect(grown <= MOST_READ, f"the host grew by {grown >> 20} MiB")
    return reason[:200]


async def read_is_refused(arena: Arena, program: str) -> str:
    session = await arena.open()
    expect_status(await arena.attack(session, program), "ok")
    try:
        data = await session.read("result")
    except (OSError, SandboxError) as error:
        return f"refused: {error}"[:200]
    raise Broken(f"read as a file of {len(data)} bytes")


async def stays_inside(arena: Arena, program: str) -> str:
    session = await arena.open()
    expect_status(await arena.attack(session, program), "ok")
    folder = arena.canary.folder
    up = "../" * 20 + str(folder)[1:]
    for path in ("link", "folder/secret", f"{up}/secret", f"{folder}/secret"):
        try:
            data = await session.read(path)
        except (OSError, SandboxError):
            continue
        expect(arena.canary.secret.encode() not in data, f"reading {path!r} gives a file of the host")
    for path in ("out", "folder/written", f"{up}/written", f"{folder}/written"):
        try:
            await session.write(path, b"x")
        except (OSError, SandboxError):
            continue
        written = folder / "written"
        if written.exists():
            written.unlink()
            raise Broken(f"writing {path!r} writes to a file of the host")
    return "4 ways to read and 4 to write"


ATTACKS = (
    Attack(
        "bytes",
        "a session writes 512 MiB at most, wherever it may write",
        """
written = []
for folder in ('.', '/tmp', '/var/tmp', '/dev/shm'):
    try:
        for i in range(12):
            written.append(f'{folder}/{mark}-{i}')
            with open(written[-1], 'wb') as file:
                for _ in range(64): file.write(b'x' * (1 << 20))
    except OSError: pass
    time.sleep(0.2)
    for path in written:
        try: os.remove(path)
        except OSError: pass
""",
        bounded(used_disk, MOST, "MiB"),
        needs="disk",
        alone=True,
    ),
    Attack(
        "names",
        f"a session makes {MOST_FILES:,} files at most",
        """
os.mkdir('names')
try:
    for i in range(80000): os.close(os.open(f'names/{i}', os.O_CREAT | os.O_WRONLY))
except OSError: pass
""",
        few_files,
        needs="disk",
        alone=True,
    ),
    Attack(
        "deep tree",
        "a tree of 3,000 levels, closed to its owner, goes with the session",
        """
here = os.getcwd()
for _ in range(3000):
    os.mkdir('d' * 50)
    os.chdir('d' * 50)
open('file', 'w').close()
os.chmod('.', 0)
os.chdir(here)
os.chmod('d' * 50, 0)
""",
        closes,
    ),
    Attack(
        "sparse file",
        "a huge file is refused before the host reads it",
        "open('huge', 'wb').close(); os.truncate('huge', 1 << 30)",
        reads_bounded,
        alone=True,
    ),
    Attack(
        "named pipe",
        "a named pipe is not read as a file, and nobody waits for it",
        "os.mkfifo('result')",
        read_is_refused,
    ),
    Attack(
        "device as result", "a device is not read as a file", "os.symlink('/dev/zero', 'result')", read_is_refused
    ),
    Attack(
        "links and paths out",
        "files are read and written inside of the sandbox, whatever links and paths say",
        TRAPS,
        stays_inside,
        needs="files",
    ),
)
