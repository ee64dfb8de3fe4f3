"""Privileges, namespaces, and system calls that a program has no use for."""

from __future__ import annotations

from agentgym.checks.attacks.attack import Arena, Attack, tail
from agentgym.checks.attacks.judges import gets_nothing, unseen, watch
from agentgym.checks.attacks.observe import processes, status
from agentgym.checks.harness import expect

CHILD = """
def worked(action):  # in a process of its own, which keeps what it gets
    pid = os.fork()
    if pid == 0:
        try: os._exit(0 if action() >= 0 else 1)
        except BaseException: os._exit(1)
    return os.waitpid(pid, 0)[1] == 0
def report(**actions):
    for name, action in actions.items():
        if worked(action): print(name)
    print('attack carried out')
"""

NO_CAPABILITY = "0" * 16


async def stays_unprivileged(arena: Arena, program: str) -> str:
    """Seen from the host: not root, no capability, no way to gain one."""
    rows: list[dict[str, str]] = []
    run = arena.attack(await arena.open(), program)
    result = await watch(run, lambda: rows.extend(map(status, processes(arena.mark))))
    rows = [row for row in rows if "CapEff" in row]  # others ended while we looked
    expect(bool(rows), f"the host saw no process of it: {tail(result)}")
    for row in rows:
        expect("0" not in row["Uid"].split(), "it runs as the host's root")
        held = [row[key] for key in ("CapInh", "CapPrm", "CapEff", "CapAmb")]
        expect(held == [NO_CAPABILITY] * 4, f"it has capabilities: {held}")
        expect(row.get("NoNewPrivs") == "1", "a set-user-id program would raise it")
    return f"seen {len(rows)} times from the host: no root, no capability"


ATTACKS = (
    Attack(
        "becoming root",
        "seen from the host, the program is never root and never has a capability",
        """
for change in (lambda: os.setresuid(0, 0, 0), lambda: os.setresgid(0, 0, 0), lambda: os.setgroups([0])):
    try: change()
    except OSError: pass
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
libc.capset(header, (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6))
time.sleep(0.5)
""",
        stays_unprivileged,
        needs="privileges",
    ),
    Attack(
        "new namespaces",
        "no namespace is made, with which the rights would come back",
        CHILD
        + """
report(
    user=lambda: libc.unshare(0x10000000), mount=lambda: libc.unshare(0x20000),
    network=lambda: libc.unshare(0x40000000),
    pid=lambda: libc.unshare(0x20000000), user_and_mount=lambda: libc.unshare(0x10020000),
    clone3=lambda: libc.syscall(435, (ctypes.c_uint64 * 8)(0x10000000, 0, 0, 0, 17, 0, 0, 0), 64),
)
""",
        gets_nothing,
        needs="privileges",
    ),
    Attack(
        "other namespaces",
        "no namespace of another process is entered",
        CHILD
        + """
def enter(pid, name):
    descriptor = os.open(f'/proc/{pid}/ns/{name}', os.O_RDONLY)
    return libc.setns(descriptor, 0)
report(**{
    f'{name} of {pid}': lambda pid=pid, name=name: enter(pid, name)
    for pid in (1, os.getppid(), host['pid']) for name in ('mnt', 'net', 'pid', 'ipc', 'uts', 'user')
})
""",
        gets_nothing,
        needs="privileges",
    ),
    Attack(
        "mounts",
        "nothing is mounted, unmounted or made a root",
        CHILD
        + """
os.makedirs('m', exist_ok=True)
def mount(kind, flags):
    done = libc.mount(mark.encode(), b'm', kind, flags, None)
    libc.umount2(b'm', 2)
    return done
report(
    tmpfs=lambda: mount(b'tmpfs', 0), proc=lambda: mount(b'proc', 0), sysfs=lambda: mount(b'sysfs', 0),
    bind=lambda: libc.mount(b'/', b'm', None, 4096, None) or libc.umount2(b'm', 2),
    chroot=lambda: os.chroot('.') or 0, fsopen=lambda: libc.syscall(430, b'tmpfs', 0),
    open_tree=lambda: libc.syscall(428, -100, b'.', 1),
)
""",
        gets_nothing,
        needs="privileges",
    ),
    Attack(
        "keyrings",
        "a key does not pass from one session to another",
        """
for ring in (-4, -5, -3):  # the user's, the user's session's, the session's
    libc.syscall(ADD_KEY, b'user', mark.encode(), b'x', 1, ring)
print('attack carried out')
""",
        unseen("""
for ring in (-4, -5, -3):
    if libc.syscall(KEYCTL, 10, ring, b'user', mark.encode(), 0) > 0: print('a key of the first session')
print('attack carried out')
"""),
        needs="system calls",
    ),
    Attack(
        "io_uring",
        "there is no io_uring, which does what it is told past every filter",
        CHILD + "report(io_uring_setup=lambda: libc.syscall(425, 4, (ctypes.c_uint8 * 120)()))",
        gets_nothing,
        needs="system calls",
    ),
    Attack(
        "bpf and perf",
        "neither programs for the kernel nor its counters",
        CHILD
        + """
attributes = (ctypes.c_uint32 * 32)(1, 128)  # PERF_TYPE_SOFTWARE
array = (ctypes.c_uint32 * 32)(2, 4, 4, 1)  # BPF_MAP_TYPE_ARRAY
report(
    perf_event_open=lambda: libc.syscall(PERF_EVENT_OPEN, attributes, 0, -1, -1, 0),
    bpf=lambda: libc.syscall(BPF, 0, array, 128),
)
""",
        gets_nothing,
        needs="system calls",
    ),
    Attack(
        "userfaultfd and personality",
        "neither page faults handled by the program nor another personality",
        CHILD
        + """
report(
    userfaultfd=lambda: libc.syscall(USERFAULTFD, 1), personality=lambda: libc.personality(0x0040000),
)
""",
        gets_nothing,
        needs="system calls",
    ),
    Attack(
        "the kernel's own",
        "no module, no other kernel, no clock, no reboot, no file by its number",
        CHILD
        + """
def missing(result): return -1 if ctypes.get_errno() in (errno.EPERM, errno.ENOSYS) else 0  # it went no further
report(
    init_module=lambda: missing(libc.syscall(INIT_MODULE, None, 0, b'')),
    kexec=lambda: missing(libc.syscall(KEXEC_LOAD, 0, 0, None, 1 << 40)),
    settime=lambda: missing(libc.clock_settime(0, None)),
    swapon=lambda: missing(libc.swapon(b'/nowhere', 0)),
    open_by_handle=lambda: missing(libc.open_by_handle_at(-100, (ctypes.c_uint32 * 34)(8, 1), 0)),
    fanotify=lambda: libc.fanotify_init(4, 0),
)
""",
        gets_nothing,
        needs="system calls",
    ),
)
