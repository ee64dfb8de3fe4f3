"""Reading and writing what is the host's: files, devices, environment, the trainer's own code."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from agentgym.checks.attacks.attack import Arena, Attack
from agentgym.checks.attacks.judges import expect_carried_out, gets_nothing, keeps_secret
from agentgym.checks.harness import Broken, expect

PRIVATE = ("/etc/shadow", "/etc/gshadow", "/etc/machine-id", "/etc/sudoers", "/proc/1/cmdline")

WALK = """
def look(path):
    try: return open(path, 'rb').read(1 << 20)
    except OSError: return b''
roots = [''] + [f'/proc/{pid}/{way}' for pid in os.listdir('/proc') if pid.isdigit() for way in ('root', 'cwd')]
"""


async def reads_none(arena: Arena, program: str) -> str:
    """Nothing that the program prints is the content of a private file that the host has."""
    result = await arena.attack(await arena.open(), program)
    expect_carried_out(result)
    ours = private()
    got = [path for path, content in ours.items() if content.hex() in result.stdout]
    expect(not got, f"it reads the host's {', '.join(got)}")
    return f"none of {', '.join(ours)}"


def private() -> dict[str, bytes]:
    """The private files that the host itself may read, and their contents."""
    contents = {path: Path(path).read_bytes() for path in PRIVATE if os.access(path, os.R_OK)}
    return {path: content for path, content in contents.items() if content.strip()}


async def writes_none(arena: Arena, program: str) -> str:
    """No file with the attack's mark appears in the host's folders."""
    result = await arena.attack(await arena.open(), program)
    expect_carried_out(result)
    tried = [Path(line) for line in result.stdout.splitlines() if line.startswith("/")]
    found = [path for path in tried if await asyncio.to_thread(path.exists)]
    for path in found:
        path.unlink()
    if found:
        raise Broken(f"it writes to the host's {', '.join(str(path.parent) for path in found)}")
    return f"{len(tried)} folders"


ATTACKS = (
    Attack(
        "a file of the host",
        "a file that anybody on the host may read is not read",
        WALK
        + """
for root in roots: print(*secrets(look(f"{root}{host['folder']}/secret")))
print('attack carried out')
""",
        keeps_secret,
        needs="files",
    ),
    Attack(
        "private files",
        "password hashes, the machine's id, pid 1's command line are not read",
        WALK + f"for path in {PRIVATE}: print(look(path).hex())\nprint('attack carried out')",
        reads_none,
        needs="files",
    ),
    Attack(
        "the home folder",
        "the user's home folder is not listed, nor what programs keep there",
        """
for name in ('.ssh', '.bash_history', '.bashrc', '.profile', '.netrc', '.aws', '.config', '.cache', '.gitconfig'):
    if os.path.lexists(f"{host['home']}/{name}"): print(name)
print('attack carried out')
""",
        gets_nothing,
        needs="files",
    ),
    Attack(
        "the environment",
        "no variable of the host's is in the session's environment or in that of a process it sees",
        WALK
        + """
print(*secrets(repr(dict(os.environ)).encode()), *secrets(subprocess.run(['env'], capture_output=True).stdout))
for pid in os.listdir('/proc'):
    if pid.isdigit() or pid == 'self': print(*secrets(look(f'/proc/{pid}/environ')))
print('attack carried out')
""",
        keeps_secret,
        needs="processes",
    ),
    Attack(
        "the trainer's code",
        "agentgym itself, with what grades the program, is neither imported nor read",
        """
try: import agentgym.checks; print('import agentgym')
except ImportError: pass
for name in ('errors.py', 'checks/harness.py'):
    if os.path.exists(f"{host['package']}/{name}"): print(name)
print('attack carried out')
""",
        gets_nothing,
        needs="files",
    ),
    Attack(
        "writing anywhere",
        "no file appears in a folder of the host",
        """
import sysconfig
folders = {host['folder'], host['home'], host['package'], '/tmp', '/var/tmp', '/dev/shm', '/etc', '/usr/local/bin'}
for folder in folders | {sysconfig.get_path('stdlib'), sysconfig.get_path('purelib')}:
    try: open(f'{folder}/{mark}', 'w').close()
    except OSError: pass
    print(f'{folder}/{mark}')
print('attack carried out')
""",
        writes_none,
        needs="files",
    ),
    Attack(
        "devices",
        "no disk, no memory, no kernel log, no virtual machine",
        """
for name in ('mem', 'kmsg', 'vda', 'sda', 'nvme0n1', 'loop0', 'fuse', 'kvm', 'net/tun', 'vsock', 'uinput'):
    try: os.close(os.open(f'/dev/{name}', os.O_RDONLY | os.O_NONBLOCK)); print(f'/dev/{name}')
    except OSError: pass
try: os.mknod('device', 0o60600, os.stat('/').st_dev); print('mknod of the disk')
except OSError: pass
print('attack carried out')
""",
        gets_nothing,
        needs="files",
    ),
)
