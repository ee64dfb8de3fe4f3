"""The command line of a fork server, alone or inside bubblewrap."""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from agentgym.errors import SandboxError

if TYPE_CHECKING:
    from agentgym.sandboxes.local import Local

Mode = Literal["bubblewrap", "container", "none"]
"""What is around the fork server. In a container the container itself is, and only sessions get namespaces."""

HERE = Path(__file__).parent.parent
WORKSPACE = "/workspace"
NOBODY = 65534
SHARED = ("/dev/pts", "/dev/mqueue")  # of a container: by their ways sessions could meet
MAX_FILES = 16384  # in a workspace
START = "import sys; sys.path.append({folder!r}); from inside.fork_server import main; sys.path.pop(); main()"


def environment() -> dict[str, str]:
    """All that a session sees of the environment: nothing of the caller's."""
    return {
        "PATH": f"{os.path.dirname(sys.executable)}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",  # sets iterate alike in a replay; `-I` would ignore it, hence `-P -s`
    }


@functools.cache
def masked_proc() -> bool:
    """Whether something covers parts of /proc, as container daemons see to unless told otherwise: then the kernel
    lets no session mount one of its own, and that of a session is empty."""
    places = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    return any(place.startswith("/proc/") for place in places - {"/proc/sys/fs/binfmt_misc"})


def command(config: Local, mode: Mode, directory: str) -> list[str]:
    """The fork server's argv. `directory` holds the workspaces of one without namespaces.

    Raises SandboxError when bubblewrap is asked for and absent.
    """
    prefixes = python_prefixes()
    folder = "/run" if mode == "bubblewrap" else str(HERE)
    settings = {
        "namespaces": mode != "none",
        "own_proc": not masked_proc(),
        "drop_to": NOBODY if mode == "bubblewrap" and os.getuid() == 0 else None,
        "directory": directory if mode == "none" else WORKSPACE,
        "aliases": ["/dev/shm", *([] if any(p.startswith("/tmp/") for p in prefixes) else ["/tmp"])],
        "shared": [] if mode == "bubblewrap" else [path for path in SHARED if os.path.isdir(path)],
        "preload": list(config.preload),
        "memory": config.memory_mb << 20,
        "disk": config.disk_mb << 20,
        "inodes": MAX_FILES,
        "processes": config.processes,
    }
    python = [sys.executable, "-P", "-s", "-X", "no_debug_ranges", "-c", START.format(folder=folder)]
    return [*(bubblewrap(prefixes) if mode == "bubblewrap" else []), *python, json.dumps(settings)]


def bubblewrap(prefixes: list[str]) -> list[str]:
    """bwrap's part: a read-only system, the interpreter, an empty workspace, and no network.

    /proc is the outer one, because a session may mount its own only where a whole one is in sight. Started as
    root, no user namespace is made here, so that the fork server can drop to a user that is not root outside.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise SandboxError("isolation='bubblewrap', but there is no `bwrap` on the PATH (package: bubblewrap)")
    words = [bwrap, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    words += ["--die-with-parent", "--as-pid-1"]  # bwrap's own pid 1 would outlive the bwrap that we wait for
    if os.getuid() == 0:
        words += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    words += ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        path = Path("/", name)
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            words += ["--ro-bind", str(path), str(path)]
    words += ["--dir", "/etc", "--dir", "/etc/ssl"]  # which bwrap would else make private
    for name in ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "ssl/openssl.cnf"):
        words += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    words += ["--bind", "/proc", "/proc", "--dev", "/dev", "--tmpfs", "/dev/pts", "--remount-ro", "/dev/pts"]
    for folder in ("/run", "/tmp", WORKSPACE):
        words += ["--dir", folder]
    for prefix in prefixes:
        for parent in reversed(Path(prefix).parents[:-1]):  # else bwrap makes those of a private home private
            words += ["--dir", str(parent)]
        words += ["--ro-bind", prefix, prefix]
    words += ["--ro-bind", str(HERE / "inside"), "/run/inside"]
    return [*words, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", WORKSPACE, "--"]


def python_prefixes() -> list[str]:
    """Folders outside /usr that the running Python needs: a virtual environment, what it was made from."""
    found = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    for executable in (Path(sys.executable), Path(sys.executable).resolve()):
        found.add(str(executable.parent.parent))
    return sorted(path for path in found if path != "/usr" and not path.startswith("/usr/"))
