"""/proc and /sys: other processes, the kernel's switches, control groups."""

from __future__ import annotations

from pathlib import Path

from agentgym.checks.attacks.attack import Arena, Attack, tail
from agentgym.checks.attacks.judges import DONE, expect_carried_out, gets_nothing, keeps_secret
from agentgym.checks.harness import Broken, expect

SWITCH = Path("/proc/sys/fs/inotify/max_queued_events")
"""A switch of the whole machine's, harmless to change by one."""


def switch(value: str = "") -> str:
    """What the switch says now; a value is put there first."""
    if value:
        SWITCH.write_text(value)
    return SWITCH.read_text()


async def switch_stays(arena: Arena, program: str) -> str:
    before = switch()
    result = await arena.attack(await arena.open(), program)
    if switch() != before:
        switch(before)
        raise Broken(f"it changes the host's {SWITCH}")
    expect(result.stdout == f"{DONE}\n", f"it changes {' '.join(result.stdout.split())}: {tail(result)}")
    return f"{SWITCH} and the core pattern unchanged"


async def groups_stay(arena: Arena, program: str) -> str:
    result = await arena.attack(await arena.open(), program)
    expect_carried_out(result)
    made = remove_groups(arena.mark)
    expect(not made, f"it makes control groups: {', '.join(made)}")
    expect(result.stdout == f"{DONE}\n", f"it writes to {' '.join(result.stdout.split())}")
    return "no group made, no file of a group written"


def remove_groups(name: str) -> list[str]:
    """The control groups of that name, which are gone then."""
    top = Path("/sys/fs/cgroup")
    found = [*top.glob(f"*/{name}"), *top.glob(name)]
    for folder in found:
        folder.rmdir()
    return [str(folder) for folder in found]


ATTACKS = (
    Attack(
        "kernel switches",
        "no switch of the kernel's is changed, the core pattern above all",
        f"""
def put(path, change):
    try:
        old = open(path).read()
        with open(path, 'w') as file: file.write(change(old))
        print(path)
    except (OSError, ValueError): pass
put('{SWITCH}', lambda old: str(int(old) + 1))
put('/proc/sys/kernel/core_pattern', lambda old: old)
put('/proc/sys/vm/overcommit_memory', lambda old: old)
put('/proc/sys/kernel/ns_last_pid', lambda old: old)
print('attack carried out')
""",
        switch_stays,
        needs="privileges",
    ),
    Attack(
        "command lines",
        "no process of the host is seen, nor its command line",
        """
for pid in {str(host['pid']), *os.listdir('/proc')}:
    try: print(*secrets(open(f'/proc/{pid}/cmdline', 'rb').read()))
    except OSError: pass
print('attack carried out')
""",
        keeps_secret,
        needs="processes",
    ),
    Attack(
        "memory of processes",
        "no process of the host's memory is read",
        """
try:
    with open(f"/proc/{host['pid']}/maps") as maps, open(f"/proc/{host['pid']}/mem", 'rb') as memory:
        for line in maps:
            start, end = (int(x, 16) for x in line.split()[0].split('-'))
            if 'rw' not in line or end - start > 64 << 20: continue
            try:
                memory.seek(start)
                print(*secrets(memory.read(end - start)))
            except (OSError, ValueError): pass
except OSError: pass
print('attack carried out')
""",
        keeps_secret,
        needs="processes",
    ),
    Attack(
        "files of processes",
        "no open file of a process of the host's is opened, by its number or by pidfd_getfd",
        """
try: print(*secrets(open(f"/proc/{host['pid']}/fd/{host['descriptor']}", 'rb').read()))
except OSError: pass
try:
    stolen = libc.syscall(438, os.pidfd_open(host['pid']), host['descriptor'], 0)
    print(*secrets(os.pread(stolen, 100, 0)))
except (OSError, AttributeError): pass
print('attack carried out')
""",
        keeps_secret,
        needs="processes",
    ),
    Attack(
        "kernel memory and logs",
        "neither the kernel's memory nor its log nor its hot keys are opened",
        """
for path, way in (('/proc/kcore', os.O_RDONLY), ('/proc/kmsg', os.O_RDONLY), ('/proc/sysrq-trigger', os.O_WRONLY),
                  ('/sys/power/state', os.O_WRONLY), ('/sys/kernel/mm/ksm/run', os.O_WRONLY),
                  ('/sys/kernel/uevent_helper', os.O_WRONLY), ('/proc/1/oom_score_adj', os.O_WRONLY)):
    try: os.close(os.open(path, way | os.O_NONBLOCK)); print(path)
    except OSError: pass
if libc.klogctl(10, None, 0) >= 0: print('syslog')
print('attack carried out')
""",
        gets_nothing,
        needs="privileges",
    ),
    Attack(
        "signals of one's choice",
        "no timer and no file is told to send a signal of choice, by which a process that is stopped wakes itself",
        """
event, timer = (ctypes.c_int * 16)(), ctypes.c_int()
event[2], event[3] = signal.SIGCONT, 0  # sigev_signo, SIGEV_SIGNAL
if libc.syscall(222 if os.uname().machine == 'x86_64' else 107, 1, event, ctypes.byref(timer)) == 0: print('timer')
read, write = os.pipe()
if libc.fcntl(read, 10, signal.SIGCONT) == 0: print('file')  # F_SETSIG
print('attack carried out')
""",
        gets_nothing,
        needs="privileges",
    ),
    Attack(
        "control groups",
        "a session neither leaves its control group nor makes one",
        """
tops = ['/sys/fs/cgroup'] + [entry.path for entry in os.scandir('/sys/fs/cgroup') if entry.is_dir()] \\
    if os.path.isdir('/sys/fs/cgroup') else []
for top in tops:
    try: os.mkdir(f'{top}/{mark}')
    except OSError: pass
    for name in ('cgroup.procs', 'tasks', 'release_agent', 'memory.max', 'pids.max'):
        try: os.close(os.open(f'{top}/{name}', os.O_WRONLY)); print(f'{top}/{name}')
        except OSError: pass
print('attack carried out')
""",
        groups_stay,
        needs="privileges",
    ),
)
