"""Tampering with the interpreter that runs the program, and with what the sandbox keeps in it."""

from __future__ import annotations

from agentgym.checks.attacks.attack import Attack
from agentgym.checks.attacks.judges import answers, ends

GOES_ON = "every later run is answered in time: with its output, or as failed, or as begun anew"

ATTACKS = (
    Attack(
        "patched builtins",
        GOES_ON,
        """
import builtins
def broken(*args, **kwargs): raise RuntimeError('patched')
for name in ('len', 'open', 'exec', 'eval', 'compile', 'isinstance', 'print', 'repr', 'str', 'getattr'):
    setattr(builtins, name, broken)
""",
        answers,
    ),
    Attack(
        "patched modules",
        GOES_ON,
        """
import ast, json, linecache, traceback
def broken(*args, **kwargs): raise RuntimeError('patched')
json.dumps = json.loads = ast.parse = traceback.TracebackException.from_exception = broken
os.read = os.write = os.getpid = linecache.getline = sys.displayhook = sys.excepthook = broken
""",
        answers,
    ),
    Attack("emptied sys.modules", GOES_ON, "sys.modules.clear()", answers),
    Attack(
        "every dictionary emptied",
        GOES_ON,
        """
import gc
for thing in gc.get_objects():
    try:
        if type(thing) in (dict, list): thing.clear()
    except BaseException: pass
""",
        answers,
    ),
    Attack(
        "the sandbox's own frames",
        GOES_ON,
        """
frame = sys._getframe()
while frame:
    for name in list(frame.f_globals):
        if not name.startswith('_') and frame.f_globals is not globals(): frame.f_globals[name] = None
    frame = frame.f_back
""",
        answers,
    ),
    Attack(
        "hooks left behind",
        GOES_ON,
        """
def hook(*args): raise RuntimeError('a hook of the run before')
threading.settrace(hook); threading.setprofile(hook)
sys.addaudithook(hook)
sys.setprofile(hook); sys.settrace(hook)
""",
        answers,
    ),
    Attack(
        "no recursion",
        GOES_ON,
        """
for depth in range(1, 1000):
    try: sys.setrecursionlimit(depth); break
    except RecursionError: pass
""",
        answers,
    ),
    Attack(
        "endless recursion",
        "a program that overflows the stack ends as killed, or as an error",
        "sys.setrecursionlimit(1 << 30)\nf = lambda _: sorted([1], key=f)\nf(1)",
        ends("killed", "error", "oom"),
    ),
    Attack("a crash", "a segmentation fault ends as killed", "ctypes.string_at(0)", ends("killed")),
    Attack("an abort", "an abort ends as killed", "os.abort()", ends("killed")),
    Attack("all descriptors closed", GOES_ON, "os.closerange(0, 4096)", answers),
    Attack("standard streams closed", GOES_ON, "for fd in (0, 1, 2): os.close(fd)", answers),
    Attack(
        "standard streams replaced",
        GOES_ON,
        """
class Stream:
    def __getattr__(self, name): raise KeyboardInterrupt(name)
sys.stdout = sys.stderr = sys.stdin = sys.__stdout__ = sys.__stderr__ = Stream()
""",
        answers,
    ),
    Attack(
        "another program",
        "a program that replaces the interpreter by another one is not taken for finished",
        "os.execvp('true', ['true'])",
        ends("exited", "killed"),
    ),
    Attack(
        "errors that resist",
        "an exception that cannot be shown is an error all the same",
        """
class Resists(BaseException):
    def __str__(self): raise self
    __repr__ = __str__
    __cause__ = property(lambda self: self)
raise Resists
""",
        ends("error", "killed", "exited"),
    ),
)
