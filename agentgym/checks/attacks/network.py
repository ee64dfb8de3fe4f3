"""Ways out: the host's own services, other machines, other sessions. Nothing is sent beyond the loopback."""

from __future__ import annotations

import socket

from agentgym.checks.attacks.attack import Arena, Attack
from agentgym.checks.attacks.judges import (
    expect_carried_out,
    expect_secret_kept,
    gets_nothing,
    unseen,
    watch,
)
from agentgym.checks.harness import expect

ADDRESSES = "['127.0.0.1', '::1', 'localhost', 'host.docker.internal', '172.17.0.1', '10.0.2.2']"


async def unheard(arena: Arena, program: str) -> str:
    """None of the host's sockets, which hear the host itself, hears the program."""
    result = await arena.attack(await arena.open(), program)
    await arena.canary.listens()
    heard = any(arena.mark.encode() in word for word in arena.canary.heard)
    expect(not heard, "a service of the host hears it")
    expect(arena.canary.secret not in result.stdout, "a service of the host answers it")
    expect_carried_out(result)
    return "the host's services hear the host, but not the program"


async def overhears_nothing(arena: Arena, program: str) -> str:
    """The program does not see the secret that the host sends to itself meanwhile."""
    end = ("127.0.0.1", arena.canary.facts["udp"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        run = arena.attack(await arena.open(), program)
        result = await watch(run, lambda: sender.sendto(arena.canary.secret.encode(), end))
    expect_secret_kept(arena, result)
    return "not overheard"


async def sees_no_interface(arena: Arena, program: str) -> str:
    """The program finds none of the host's interfaces, which the host lists."""
    ours = {name for _, name in socket.if_nameindex()} - {"lo"}
    result = await arena.attack(await arena.open(), program)
    expect_carried_out(result)
    seen = ours & set(result.stdout.split())
    expect(not seen, f"it sees the host's interfaces {', '.join(sorted(seen))}")
    return f"none of {len(ours)} interfaces seen"


async def no_vsock(arena: Arena, program: str) -> str:
    """No vsock, which belongs to no network namespace; the host itself can have one, or all is well."""
    try:
        socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()
    except OSError:
        return "the host has no vsock"
    return await gets_nothing(arena, program)


ATTACKS = (
    Attack(
        "tcp to the host",
        "no service of the host's loopback hears the program",
        f"""
for address in {ADDRESSES}:
    try:
        with socket.create_connection((address, host['tcp']), 0.5) as stream:
            stream.sendall(mark.encode())
            print(stream.recv(100))
    except OSError: pass
print('attack carried out')
""",
        unheard,
        needs="network",
    ),
    Attack(
        "udp to the host",
        "no service of the host's loopback hears the program's datagrams",
        f"""
for address in {ADDRESSES}:
    try:
        for family, kind, _, _, end in socket.getaddrinfo(address, host['udp'], type=socket.SOCK_DGRAM):
            with socket.socket(family, kind) as sender: sender.sendto(mark.encode(), end)
    except OSError: pass
print('attack carried out')
""",
        unheard,
        needs="network",
    ),
    Attack(
        "abstract socket of the host",
        "a socket of the host's without a file does not hear the program",
        """
try:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(mark.encode(), b'\\0' + host['unix'].encode())
except OSError: pass
print('attack carried out')
""",
        unheard,
        needs="network",
    ),
    Attack(
        "abstract socket between sessions",
        "a socket without a file does not join two sessions",
        """
try:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind('\\0' + mark)
    listener.listen()
except OSError: pass
print('attack carried out')
""",
        unseen("""
try:
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect('\\0' + mark)
        print('a socket of the first session')
except OSError: pass
print('attack carried out')
"""),
        needs="network",
    ),
    Attack(
        "port between sessions",
        "a port on the loopback does not join two sessions",
        """
listeners = []
for family, address in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1')):
    try:
        listeners.append(socket.socket(family))
        listeners[-1].bind((address, 47113))
        listeners[-1].listen()
    except OSError: pass
print('attack carried out')
""",
        unseen("""
for address in ('127.0.0.1', '::1'):
    try:
        with socket.create_connection((address, 47113), 1): print(f'a port of the first session on {address}')
    except OSError: pass
print('attack carried out')
"""),
        needs="network",
    ),
    Attack(
        "raw sockets",
        "what the host sends to itself is not overheard",
        """
ears = []
for family, kind, protocol in ((17, socket.SOCK_RAW, 0x300), (17, socket.SOCK_DGRAM, 0x300),
                               (socket.AF_INET, socket.SOCK_RAW, 17), (socket.AF_INET, socket.SOCK_RAW, 1)):
    try: ears.append(socket.socket(family, kind, protocol))
    except OSError: pass
end = time.monotonic() + 1
while time.monotonic() < end:
    for ear in ears:
        ear.settimeout(0.05)
        try: print(*secrets(ear.recv(65536)))
        except OSError: pass
print('attack carried out')
""",
        overhears_nothing,
        needs="network",
    ),
    Attack(
        "metadata and name servers",
        "there is no way to a cloud's metadata address, a name server or any other machine",
        """
# Connecting a datagram socket only asks for the way: nothing is sent.
for address in ('169.254.169.254', 'fd00:ec2::254', '1.1.1.1', '192.168.0.1', '2606:4700:4700::1111'):
    try:
        with socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_DGRAM) as way:
            way.connect((address, 53))
            print(f'a way to {address}')
    except OSError: pass
print('attack carried out')
""",
        gets_nothing,
        needs="network",
    ),
    Attack(
        "netlink",
        "the kernel does not tell the host's interfaces",
        """
try: print(*[name for _, name in socket.if_nameindex()])
except OSError: pass
for path in ('/proc/net/dev', '/proc/1/net/dev', '/sys/class/net'):
    try: print(*(os.listdir(path) if 'sys' in path else re.findall(r'(\\S+):', open(path).read())))
    except OSError: pass
print('\\nattack carried out')
""",
        sees_no_interface,
        needs="network",
    ),
    Attack(
        "vsock",
        "there is no socket to the hypervisor or to the host beside it",
        """
try:
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM): print('a vsock')
except OSError: pass
print('attack carried out')
""",
        no_vsock,
        needs="system calls",
    ),
)
