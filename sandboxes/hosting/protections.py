"""What stands between a program and the machine in a local session, found by trying from within."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from agentgym.errors import SandboxError
from agentgym.sandbox import Protection
from agentgym.sandboxes.hosting.launch import masked_proc

if TYPE_CHECKING:
    from agentgym.sandboxes.local import Local, LocalHost

PROBE = """
import ctypes, json, os, socket
libc = ctypes.CDLL(None)
capabilities = (ctypes.c_uint32 * 6)()
libc.capget((ctypes.c_uint32 * 2)(0x20080522, 0), capabilities)
def refused(call, *arguments):
    try:
        return call(*arguments) is None
    except OSError:
        return True
print(json.dumps({
    'pids': len([name for name in os.listdir('/proc') if name.isdigit()]),
    'socket': refused(socket.socket),
    'written': any(os.access(path, os.W_OK) for path in ('/', '/usr', '/etc', '/proc/sys/kernel/core_pattern')),
    'capabilities': any(capabilities),
    'privileges': libc.prctl(39, 0, 0, 0, 0) == 1,  # PR_GET_NO_NEW_PRIVS
    'root': 0 in (*os.getresuid(), *os.getresgid()),
    'filter': libc.prctl(21) == 2,  # PR_GET_SECCOMP
    'namespaces': libc.unshare(0x10000000) == 0,
}))
"""


async def local_protections(config: Local) -> list[Protection]:
    """A row per protection."""
    host = await config.open()
    try:
        session = await host.session()
        result = await session.run(PROBE, 30.0)
        if result.status != "ok":
            raise SandboxError(f"a session does not work: {result.stderr}")
        seen = json.loads(result.stdout)
        return [*_walls(host, seen), *_limits(host)]
    finally:
        await host.close()


def _walls(host: LocalHost, seen: dict[str, object]) -> list[Protection]:
    walls = host.mode != "none"
    weak = "no namespaces: allow_weak is set and they cannot be had"

    def row(name: str, holds: object, detail: str) -> Protection:
        return Protection(name, walls and bool(holds), detail if walls else weak)

    private = not seen["root"] and not seen["capabilities"] and seen["privileges"] and not seen["namespaces"]
    return [
        row(
            "processes",
            seen["pids"] == (0 if masked_proc() else 2),
            "own pid namespace, which dies with its keeper",
        ),
        row("network", seen["socket"], "own network namespace, loopback down; no socket can be made"),
        row(
            "files", not seen["written"], "read-only system and interpreter, private tmpfs, nothing of the user's"
        ),
        row("privileges", private, "not root outside either, no capabilities, none to gain, no user namespaces"),
        row("system calls", seen["filter"], "seccomp filter" if seen["filter"] else "no filter on this processor"),
        Protection("fork", False, f"replays its log: {'/proc is masked' if walls else 'no namespaces'}")
        if host.replays
        else row("fork", True, "live processes, files copied"),
    ]


def _limits(host: LocalHost) -> list[Protection]:
    config, walls = host.config, host.mode != "none"
    memory, processes, disk = f"{config.memory_mb} MB", str(config.processes), f"{config.disk_mb} MB"
    return [
        _grouped(host, "memory", f"{config.memory_mb + config.disk_mb} MB a session", f"{memory} a process only"),
        Protection("process count", True, f"{processes} a session")
        if walls
        else _grouped(host, "pids", f"{processes} a session", "no limit"),
        _grouped(host, "cpu", f"{config.cpus:g} processors' time a session", "deadlines only"),
        Protection("disk", walls, f"{disk} a session" if walls else f"{disk} a file only"),
        Protection("output", True, f"{config.output_limit} bytes a stream and run; more ends the session"),
    ]


def _grouped(host: LocalHost, controller: str, detail: str, without: str) -> Protection:
    """A limit that needs control groups."""
    groups = host.cgroups
    assert groups is not None, "the host is open"
    name = "process count" if controller == "pids" else controller
    if groups.has(controller):
        return Protection(name, True, detail)
    return Protection(name, False, f"{without}: {groups.missing or f'no {controller} controller'}")
