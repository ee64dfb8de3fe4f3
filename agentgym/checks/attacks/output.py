"""Floods of output. None writes more than 512 MiB."""

from __future__ import annotations

from agentgym.checks.attacks.attack import Attack
from agentgym.checks.attacks.judges import ends

ATTACKS = (
    Attack(
        "flood from a process",
        "a flood that a process of the program's writes ends the run as output_limit",
        "subprocess.run(['head', '-c', str(256 << 20), '/dev/zero'])",
        ends("output_limit"),
        needs="output",
    ),
    Attack(
        "flood of both streams",
        "both streams are bounded at once, and neither blocks the other",
        """
flood = f"head -c {128 << 20} /dev/zero & head -c {128 << 20} /dev/zero >&2 & wait"
subprocess.run(['sh', '-c', flood])
""",
        ends("output_limit"),
        needs="output",
    ),
    Attack(
        "one endless line",
        "a flood without a newline, past the interpreter's own streams, ends as output_limit",
        "for _ in range(1 << 12): os.write(2, b'x' * 65536)",
        ends("output_limit"),
        needs="output",
    ),
    Attack(
        "flood of one string",
        "a single huge value ends as output_limit or oom",
        "print('x' * (200 << 20))",
        ends("output_limit", "oom", "killed"),
        needs="output",
    ),
    Attack(
        "streams held open",
        "a run ends with its program, though a process of it keeps the streams open",
        """
if os.fork() == 0:
    os.setsid()
    time.sleep(30)
    os._exit(0)
""",
        ends("ok", timeout=5.0),
    ),
)
