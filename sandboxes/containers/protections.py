"""What stands between a program and the machine in a container: tried from within, and asked of the daemon."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from agentgym.errors import SandboxError
from agentgym.sandbox import Protection

if TYPE_CHECKING:
    from agentgym.sandboxes.containers.session import DockerHost

PROBE = """
import ctypes, json, os, socket
fields = dict(line.split(':', 1) for line in open('/proc/self/status'))
libc = ctypes.CDLL(None, use_errno=True)
def connects():
    try:
        return not socket.create_connection(('192.0.2.1', 80), 1)
    except OSError as error:
        return isinstance(error, TimeoutError)
writable = []
for folder, below, _ in os.walk('/'):
    below[:] = [] if folder.count('/') > 2 else [name for name in below if name != 'proc']
    writable += [folder] if os.access(folder, os.W_OK) else []
files = os.statvfs('.')
print(json.dumps({
    'processes': [name for name in os.listdir('/proc') if name.isdigit()],
    'connects': connects(),
    'writable': sorted(writable),
    'capabilities': [fields[name].strip() for name in ('CapInh', 'CapPrm', 'CapEff', 'CapAmb')],
    'privileges': fields['NoNewPrivs'].strip(),
    'ids': [*os.getresuid(), *os.getresgid()],
    'filter': fields['Seccomp'].strip(),
    'keyring': libc.syscall({'x86_64': 250, 'aarch64': 219}[os.uname().machine], 0, -3, 1),
    'disk': files.f_blocks * files.f_frsize,
}))
"""
WORKSPACE = {"/workspace", "/tmp", "/dev/shm"}


async def protections(host: DockerHost) -> list[Protection]:
    """A row per protection; raises SandboxError when a session cannot be had."""
    session = await host.session()
    result = await session.run(PROBE, 30.0)
    if result.status != "ok" or session.container is None:
        raise SandboxError(f"a session does not work: {result.stderr}")
    inspected = await host.daemon.call("inspect_container", session.container.id)
    seen = json.loads(result.stdout)
    return [*_walls(host, seen), *_limits(host, seen, inspected["HostConfig"])]


def _walls(host: DockerHost, seen: dict[str, Any]) -> list[Protection]:
    shared = host.daemon.no_gvisor
    private = 0 not in seen["ids"] and not any(int(text, 16) for text in seen["capabilities"])
    others = set(seen["writable"]) - WORKSPACE
    return [
        Protection("container", True, "one for each episode, shared with its forks only, removed after it"),
        Protection("kernel", not shared, f"shared with this machine: {shared}" if shared else "gVisor's own"),
        Protection("processes", len(seen["processes"]) == 2, "own pid namespace for each session"),
        Protection("network", not seen["connects"], "none: a loopback that is down"),
        Protection("files", not others, f"writable: {', '.join(sorted(others)) or 'the workspace only'}"),
        Protection("privileges", private and seen["privileges"] == "1", "not root, no capabilities, none to gain"),
        Protection("system calls", seen["filter"] == "2" and seen["keyring"] == -1, "seccomp filter"),
    ]


def _limits(host: DockerHost, seen: dict[str, Any], limits: dict[str, Any]) -> list[Protection]:
    """What the daemon enforces, which depends on the controllers that its machine has."""
    config, info = host.config, host.daemon.info

    def row(name: str, asked: int, switches: tuple[str, ...], detail: str) -> Protection:
        lacking = [switch for switch in switches if not info.get(switch)]
        holds = asked > 0 and not lacking
        return Protection(name, holds, detail if holds else f"the daemon's machine lacks {', '.join(lacking)}")

    size = f"{limits['Memory'] >> 20} MB an episode, no swap"
    return [
        row("memory", limits["Memory"], ("MemoryLimit", "SwapLimit"), size),
        row("process count", limits["PidsLimit"], ("PidsLimit",), f"{limits['PidsLimit']} an episode"),
        row(
            "cpu",
            limits["NanoCpus"],
            ("CpuCfsQuota",),
            f"processor time of {limits['NanoCpus'] / 1e9:g}, an episode",
        ),
        Protection("disk", seen["disk"] <= config.disk_mb << 20, f"{seen['disk'] >> 20} MB a session, in memory"),
        Protection("output", True, f"{config.output_limit} bytes a stream and run; more ends the session"),
    ]
