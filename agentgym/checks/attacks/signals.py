"""Signals and tracing: the host's processes, the sandbox's own, other sessions, oneself."""

from __future__ import annotations

from agentgym.checks.attacks.attack import Arena, Attack, expect_status, tail
from agentgym.checks.attacks.judges import answers, ends, watch
from agentgym.checks.attacks.observe import status
from agentgym.checks.harness import expect
from agentgym.checks.sandbox import expect_output

GUARD = """
if on_host():
    os.kill(-1, signal.SIGURG)  # harmless, and enough to be found out
    print('unprotected')
else:
"""


async def spares_the_host(arena: Arena, program: str) -> str:
    """The host's process gets no signal and lives; the session answers afterwards."""
    seen = await answers(arena, program)
    expect(not await arena.canary.signalled(), "a process of the host gets its signals")
    expect(arena.canary.alive(), "a process of the host is dead or stopped")
    return seen


async def traces_nothing(arena: Arena, program: str) -> str:
    """The host sees no tracer on its process while the program tries."""
    tracers = set()
    pid = arena.canary.process.pid
    run = arena.attack(await arena.open(), program)
    result = await watch(run, lambda: tracers.add(status(pid).get("TracerPid", "gone")))
    expect_status(result, "ok")
    expect(tracers == {"0"}, "it traces a process of the host")
    expect("traced" not in result.stdout, f"it traces {tail(result)}")
    return "no tracer on the host's process"


async def spares_others(arena: Arena, program: str) -> str:
    """Another session, whose processes bear the attack's mark, keeps its state."""
    victim = await arena.open()
    expect_status(await arena.attack(victim, "kept = 1"), "ok")
    await arena.attack(await arena.open(), program, timeout=5.0)
    expect_output(await victim.run("print(kept)"), "1", "another session keeps its state")
    return "another session keeps its state"


ATTACKS = (
    Attack(
        "signal to everybody",
        "kill(-1) and kill(0) reach nobody outside of the session, and the session answers afterwards",
        GUARD + "    os.kill(0, signal.SIGURG)\n    os.kill(-1, signal.SIGURG)\n    os.kill(-1, signal.SIGKILL)",
        spares_the_host,
        needs="processes",
        alone=True,
    ),
    Attack(
        "signal to the group",
        "killing one's process group ends the session alone",
        GUARD + "    os.killpg(0, signal.SIGKILL)",
        spares_the_host,
        needs="processes",
        alone=True,
    ),
    Attack(
        "killing the parents",
        "neither pid 1 nor the parent dies or stops; the session answers afterwards",
        GUARD
        + """
    for pid in (1, os.getppid()):
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGABRT, signal.SIGKILL):
            try: os.kill(pid, number)
            except OSError: pass
""",
        spares_the_host,
        needs="processes",
        alone=True,
    ),
    Attack(
        "stopping oneself",
        "a program that stops itself ends as timeout, and the session starts anew",
        "os.kill(os.getpid(), signal.SIGSTOP)",
        ends("timeout", timeout=1.0),
    ),
    Attack(
        "killing oneself",
        "a program that kills itself ends as killed, and the session starts anew",
        "os.kill(os.getpid(), signal.SIGKILL)",
        ends("killed"),
    ),
    Attack(
        "signal to a known process",
        "a process of the host, known by its number, is not reached",
        """
for number in (signal.SIGURG, signal.SIGTERM, signal.SIGHUP):
    try: os.kill(host['pid'], number)
    except OSError: pass
""",
        spares_the_host,
        needs="processes",
        alone=True,
    ),
    Attack(
        "signal to another session",
        "another session is neither found nor killed",
        """
for pid in (int(pid) for pid in os.listdir('/proc') if pid.isdigit()):
    try:
        if open(f'/proc/{pid}/comm').read().strip() == mark and pid != os.getpid(): os.kill(pid, signal.SIGKILL)
    except OSError: pass
""",
        spares_others,
        needs="processes",
    ),
    Attack(
        "ptrace",
        "no process of the host is traced, nor the session's own parent",
        """
victims = [host['pid']] + ([] if on_host() else [1, os.getppid()])
for pid in victims:
    if libc.ptrace(16, pid, 0, 0) == 0:  # PTRACE_ATTACH
        print('traced', pid)
        os.waitpid(pid, 0)
        time.sleep(0.3)
        libc.ptrace(17, pid, 0, 0)  # PTRACE_DETACH
""",
        traces_nothing,
        needs="processes",
        alone=True,
    ),
)
