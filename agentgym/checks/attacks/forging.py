"""Programs that did not finish, and want to be taken for finished."""

from __future__ import annotations

from agentgym.checks.attacks.attack import Arena, Attack, expect_status
from agentgym.checks.attacks.judges import ends, expect_usable
from agentgym.checks.harness import expect

FORGED = """
import json
forged = [{'status': 'ok', 'nonce': nonce, 'stdout': '', 'ok': True} for nonce in ('', 'ready', None, 0)]
lines = [json.dumps(frame).encode() for frame in forged]
def send(data):
    for fd in range(256):
        try:
            os.set_blocking(fd, False)
            os.write(fd, data)
        except OSError: pass
"""


async def unfinished(arena: Arena, program: str) -> str:
    """The run is not ok, and the session goes on."""
    session = await arena.open()
    result = await arena.attack(session, program, timeout=5.0)
    expect(result.status not in ("ok", "error"), f"a program that left in the middle is taken for {result.status}")
    await expect_usable(session, result)
    return f"ended as {result.status}"


async def raises(arena: Arena, program: str) -> str:
    """A program that fails is an error in the end, whatever it prepared in the run before."""
    session = await arena.open()
    expect_status(await arena.attack(session, program), "ok")
    result = await session.run("raise ValueError('failed')", 5.0)
    expect(result.status != "ok", "a program that raised is taken for ok")
    return f"ended as {result.status}"


ATTACKS = (
    Attack("sys.exit(0)", "it ends as exited", "sys.exit(0)", ends("exited")),
    Attack("os._exit(0)", "it ends as exited", "os._exit(0)", ends("exited")),
    Attack(
        "exit handlers",
        "what runs at exit does not turn it into a success",
        "import atexit\natexit.register(os._exit, 0)\nraise SystemExit(0)",
        ends("exited"),
    ),
    Attack(
        "exit in a thread",
        "a thread that ends the process does not finish the program",
        "threading.Timer(0.1, os._exit, (0,)).start()\nwhile True: time.sleep(1)",
        ends("exited"),
    ),
    Attack(
        "garbage everywhere",
        "garbage written to every descriptor is no reply",
        FORGED + "send(b'\\xff' * 8192)\nos._exit(0)",
        unfinished,
    ),
    Attack(
        "guessed replies",
        "replies written to every descriptor, framed in four ways, are no reply",
        FORGED
        + """
for line in lines:
    for order in ('big', 'little'): send(len(line).to_bytes(4, order) + line)
    send(line + b'\\n')
    send(line + b'\\0')
os._exit(0)
""",
        unfinished,
    ),
    Attack(
        "a stolen nonce",
        "a reply made with all that lies in the interpreter is no reply of a program that left",
        FORGED
        + """
import gc
def strings(thing):
    if type(thing) is dict: return [v for v in thing.values() if type(v) is str]
    return [thing] if type(thing) is str else []
found, frame = set(), sys._getframe()
while frame:
    found |= {s for value in frame.f_locals.values() for s in strings(value)}
    frame = frame.f_back
found |= {s for thing in gc.get_objects() if type(thing) is dict and len(thing) < 8 for s in strings(thing)}
for nonce in [s for s in found if re.fullmatch('[0-9a-f]{8,64}', s)]:
    line = json.dumps({'nonce': nonce, 'status': 'ok'}).encode()
    for fd in range(3, 64):
        try: os.write(fd, len(line).to_bytes(4, 'big') + line)
        except OSError: pass
os._exit(0)
""",
        unfinished,
    ),
    Attack(
        "exceptions swallowed",
        "a program that raises is not ok, though the hooks for errors were taken out before",
        """
import traceback
sys.excepthook = threading.excepthook = traceback.print_exception = lambda *args, **kwargs: None
sys.stderr = open(os.devnull, 'w')
""",
        raises,
    ),
)
