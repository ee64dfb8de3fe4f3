"""Programs are graded by their results alone: right ones pass, whatever the tests look like, and cheats do not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from agentgym.envs.code_grading import CodeGrader, CodeGraders
from agentgym.envs.code_tests import CallTests, StreamTests, call_tests, find_tests
from agentgym.envs.tasks.source import task_source
from agentgym.errors import JudgeError, SandboxError
from agentgym.sandboxes.local import Local
from agentgym.types import Task

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def grader() -> AsyncIterator[CodeGrader]:
    live = await CodeGraders(Local(), timeout=2.0).open()
    yield live
    await live.close()


STYLES = {
    "equality": ("assert f([3, 1]) == [1, 3]", "def f(x): return sorted(x)", "def f(x): return x"),
    "a message": ("assert f(1) == 2, str(f(1))", "def f(x): return x + 1", "def f(x): return x"),
    "truth": ("assert f(2)\nassert not f(3)", "def f(x): return x % 2 == 0", "def f(x): return True"),
    "identity": ("assert f(2) is True", "def f(x): return True", "def f(x): return 1"),
    "tolerance": ("assert abs(f(2) - 1.4142) < 1e-3", "def f(x): return x ** 0.5", "def f(x): return 1.4"),
    "math": ("import math\nassert math.isclose(f(), .3)", "def f(): return .1 + .2", "def f(): return .4"),
    "sets": ("assert set(f('aab')) == {'a', 'b'}", "def f(x): return list(x)", "def f(x): return ['a']"),
    "membership": ("assert f(2) in [1, 2]", "def f(x): return 1", "def f(x): return 3"),
    "tuples": ("assert f(1) == (1, [1])", "def f(x): return (x, [x])", "def f(x): return [x, [x]]"),
    "types": ("assert type(f(1)) is float", "def f(x): return x / 1", "def f(x): return x"),
    "not a number": ("assert f() != f()", "def f(): return float('nan')", "def f(): return 1.0"),
    "infinity": ("assert f() == [-1e999]", "def f(): return [-float('inf')]", "def f(): return [float('inf')]"),
    "big numbers": ("assert f(300) == 10 ** 300", "def f(n): return 10 ** n", "def f(n): return float(10 ** n)"),
    "bytes": ("assert f(b'\\xff') == b'\\xff\\xff'", "def f(x): return x * 2", "def f(x): return x"),
    "surrogates": ("assert f('\\ud800') == '\\ud800x'", "def f(x): return x + 'x'", "def f(x): return x"),
    "complex": ("assert f(1j) == -1 + 0j", "def f(x): return x * x", "def f(x): return x"),
    "keys": ("assert f([1, 1]) == {1: 2}", "def f(x): return {1: len(x)}", "def f(x): return {'1': len(x)}"),
    "counters": (
        "assert f('aab') == {'a': 2, 'b': 1}",
        "from collections import Counter as f",
        "def f(x): return {'a': 2}",
    ),
    "keywords": ("assert f(a=1, b={2}) == 3", "def f(a, b): return a + sum(b)", "def f(b, a): return 1"),
    "changed in place": (
        "x = [[2], [1]]\nf(x)\nassert x == [[1], [2]]",
        "def f(x): x.sort()",
        "def f(x): sorted(x)",
    ),
    "exceptions": (
        "try:\n    f(-1)\n    assert False\nexcept ValueError as e:\n    assert 'below' in str(e)",
        "def f(x):\n    if x < 0: raise ValueError('below 0')",
        "def f(x):\n    while True: pass",
    ),
    "any exception": (
        "try:\n    f(-1)\nexcept Exception:\n    pass\nelse:\n    assert False",
        "def f(x): raise KeyError(x)",
        "def f(x):\n    import os\n    os._exit(0)",
    ),
    "random inputs": (
        "import random\nfor _ in range(50):\n    x = random.random()\n    assert f(x) == -x",
        "import random\ndef f(x):\n    random.seed(1)\n    return -x",
        "def f(x): return x",
    ),
    "its own inverse": (
        "for x in ['ab', 'c']:\n    assert decode(encode(x)) == x and encode(x) != x",
        "def encode(x): return x + '!'\ndef decode(x): return x[:-1]",
        "def encode(x): return x + '!'\ndef decode(x): return x",
    ),
    "objects": (
        "root = Node(1)\nroot.left = Node(2)\nroot.left.left = Node(3)\nassert depth(root) == 3",
        "class Node:\n    left = None\n    def __init__(self, x): self.x = x\n"
        "def depth(node): return 1 + depth(node.left) if node else 0",
        "class Node:\n    def __init__(self, x): self.x = x\ndef depth(node): return 2",
    ),
    "methods": (
        "a = Account(5)\na.add(2)\nassert a.total() == 7 and a.name == 'x'",
        "class Account:\n    name = 'x'\n    def __init__(self, n): self.n = n\n"
        "    def add(self, n): self.n += n\n    def total(self): return self.n",
        "class Account:\n    name = 'x'\n    def __init__(self, n): self.n = n\n"
        "    def add(self, n): pass\n    def total(self): return self.n",
    ),
}


@pytest.mark.parametrize("style", STYLES)
async def test_right_programs_pass_and_wrong_ones_do_not(grader: CodeGrader, style: str) -> None:
    """With a reference solution, which says beforehand what will be called, and without one, where objects of the
    program's own are no answers."""
    tests, right, wrong = STYLES[style]
    for reference in (right, None):
        made = call_tests(tests, reference)
        passes = reference is not None or style not in ("objects", "methods")
        assert (await grader.grade(right, made)).right is passes
        score = await grader.grade(wrong, made)
        assert not score.right
        assert score.fraction < 1


FORGE = """
import json, os, sys
def forge():
    frame, found = sys._getframe(), ["0" * 32]
    while frame:
        found += [value for value in frame.f_locals.values() if isinstance(value, str) and len(value) == 32]
        frame = frame.f_back
    for nonce in found:
        for index in range(9):
            for value in (
                {"value": True, "args": []},
                {"value": {"ref": 0}, "args": []},
                {"cases": [True] * 9, "ended": True, "error": "", "pending": None},
                {"raised": "SystemExit", "text": "0"},
            ):
                os.write(1, f"\\n{nonce} {index} {json.dumps(value)}\\n".encode())
"""
EQUAL = """
class Yes(BASE):
    def __eq__(self, other): return True
    __ne__ = __lt__ = __gt__ = __le__ = __ge__ = __contains__ = __eq__
    def __bool__(self): return True
    def __hash__(self): return 0
    def __sub__(self, other): return 0
    __abs__ = __rsub__ = __len__ = __hash__
    def __getattr__(self, name): return lambda *a, **k: True
def f(*a, **k): return Yes(VALUE)
"""
PATCHED = """
import builtins, json, os, sys
class Quiet(Exception):
    def __new__(cls, *a): raise SystemExit(0)
builtins.AssertionError = Quiet
builtins.abs = builtins.len = builtins.print = lambda *a, **k: 0
builtins.all = builtins.any = lambda *a: True
sys.exit = os._exit = lambda *a: None
json.dumps = lambda *a, **k: '{"value": true, "args": []}'
def f(*a, **k): return 1
"""
CHEATS = {
    "nothing": "pass",
    "not Python": "def f(",
    "leave": "raise SystemExit(0)",
    "leave at once": "import os\nos._exit(0)",
    "leave in the call": "def f(*a, **k): raise SystemExit(0)",
    "leave in the call at once": "import os\ndef f(*a, **k): os._exit(0)",
    "no value": "def f(*a, **k): return None",
    "a wrong number": "def f(*a, **k): return 918273645",
    "an assertion": "def f(*a, **k): raise AssertionError",
    "the end of a loop": "def f(*a, **k): raise StopIteration",
    "equal to everything": EQUAL.replace("BASE", "object").replace("VALUE", ""),
    "an equal number": EQUAL.replace("BASE", "int").replace("VALUE", "918273645"),
    "an equal text": EQUAL.replace("BASE", "str").replace("VALUE", "'918273645'"),
    "an equal list": EQUAL.replace("BASE", "list").replace("VALUE", "'918273645'"),
    "a mock": "from unittest.mock import MagicMock\nf = MagicMock()",
    "patched builtins": PATCHED,
    "patched isinstance": PATCHED + "builtins.isinstance = lambda *a: True",
    "forged results": FORGE + "forge()\ndef f(*a, **k):\n    forge()\n    os._exit(0)",
    "forged at exit": FORGE + "import atexit\natexit.register(forge)\ndef f(*a, **k): sys.exit(0)",
    "forged by a thread": FORGE
    + "import threading\nthreading.Thread(target=forge).start()\ndef f(*a, **k): return 0",
    "a report": "def f(*a, **k): return {'cases': [True], 'ended': True, 'pending': None}",
    "deep": "def f(*a, **k):\n    x = []\n    for _ in range(900): x = [x]\n    return x",
    "deep JSON": "import os, sys\nsys.setrecursionlimit(10**6)\ndef f(*a, **k):\n"
    + (
        "    nonce = sys._getframe(2).f_locals['nonce']\n"
        "    os.write(1, f'\\n{nonce} 0 {\"[\" * 30000}\\n'.encode())"
    ),
    "long": "def f(*a, **k): return 'x' * 10**7",
    "a flood": "import os\ndef f(*a, **k):\n    while True: os.write(1, b'x' * 65536)",
    "a loop": "def f(*a, **k):\n    while True: pass",
}
REFERENCE = "def f(x): return x + 1 if type(x) is int else x.upper() if type(x) is str else x"
ASSERTS = "assert f(3) == 4\nassert f([1]).count(1) == 1\nassert f('a') == 'A'\nassert f('') is not None"


@pytest.mark.parametrize("cheat", CHEATS)
async def test_cheats_do_not_pass(grader: CodeGrader, cheat: str) -> None:
    tests = call_tests(ASSERTS, REFERENCE)
    score = await grader.grade(CHEATS[cheat], tests)
    assert not score.right
    assert score.fraction < 1
    assert (await grader.grade(REFERENCE, tests)).right, "the grader lives on"


async def test_programs_are_graded_at_once_each_with_its_own_deadline(grader: CodeGrader) -> None:
    tests = call_tests(ASSERTS, REFERENCE)
    programs = [CHEATS["a loop"], REFERENCE, CHEATS["leave in the call"], REFERENCE, CHEATS["a flood"], REFERENCE]
    scores = await asyncio.gather(*(grader.grade(program, tests) for program in programs))
    assert [score.right for score in scores] == [False, True] * 3


async def test_an_object_is_no_answer_where_the_solution_gives_a_value(grader: CodeGrader) -> None:
    tests = call_tests("assert f('') is not None\nassert f('a').isupper()", "def f(x): return x.upper()")
    for cheat in ("equal to everything", "a mock"):
        score = await grader.grade(CHEATS[cheat], tests)
        assert (score.right, score.passed) == (False, 0)


async def test_what_decides_is_never_where_the_program_runs(grader: CodeGrader) -> None:
    """A canary in the tests, in the expected value and in the reference solution; the program searches its memory,
    its files and its modules, and would pass if it found one."""
    canary = "CANARY" + "".join(random.Random(1).choices("0123456789", k=20))
    search = (
        "import gc, os, re, sys\n"
        "def f(x):\n"
        "    found, word = set(), b'CANA' + b'RY[0-9]{20}'\n"
        "    for line in open('/proc/self/maps'):\n"
        "        span, kind, *_ = line.split()\n"
        "        if not kind.startswith('r') or '[v' in line: continue\n"
        "        low, high = (int(end, 16) for end in span.split('-'))\n"
        "        with open('/proc/self/mem', 'rb', 0) as memory:\n"
        "            memory.seek(low)\n"
        "            try: found |= set(re.findall(word, memory.read(high - low)))\n"
        "            except OSError: pass\n"
        "    for folder, _, files in os.walk('.'):\n"
        "        for file in files: found |= set(re.findall(word, open(f'{folder}/{file}', 'rb').read()))\n"
        "    return found.pop().decode() if found else 'nothing'\n"
    )
    tests = CallTests(f"# {canary}\nassert f(1) == {canary!r}", ("f",), reference=f"def f(x): return {canary!r}")
    assert not (await grader.grade(search, tests)).right
    nested = CallTests(
        "assert g(f(1)) == 2", ("f", "g"), reference=f"def f(x): return {canary!r}\ndef g(x): return 2"
    )
    cheat = search + "def g(x): return 2 if x != 'nothing' else 3\n"
    assert not (await grader.grade(cheat, nested)).right, "an input made from the solution's output"
    told = CallTests(f"assert f({canary!r}) == {canary!r}", ("f",), reference="def f(x): return x")
    assert (await grader.grade(search, told)).right, "the search finds what it is given"


async def test_cases_are_counted(grader: CodeGrader) -> None:
    asserts = ["assert True", *(f"assert f({n}) == {n}" for n in range(4)), "assert True, 'not counted'"]
    tests = call_tests("\n".join(asserts), "def f(x): return x")
    score = await grader.grade("def f(x): return x if x < 3 else 0", tests)
    assert (score.passed, score.cases, score.fraction, score.note) == (3, 4, 0.75, "case 4 of 4 does not hold")
    score = await grader.grade("import os\ndef f(x): return x if x < 3 else os._exit(0)", tests)
    assert (score.passed, score.cases) == (3, 4), "what was said before the end counts"


async def test_a_program_that_loads_only_in_part_says_why(grader: CodeGrader) -> None:
    tests = call_tests("assert f(1) == 1", "def f(x): return x")
    assert "NameError: name 'oops' is not defined" in (await grader.grade("def f(x): return x\noops", tests)).note
    assert (await grader.grade("if __name__ == '__main__': oops\ndef f(x): return x", tests)).right


async def test_tests_that_their_own_solution_fails_are_an_error(grader: CodeGrader) -> None:
    with pytest.raises(JudgeError, match="reference solution"):
        await grader.grade("def f(x): return 1", call_tests("assert f(1) == 1", "def f(x): return 2"))
    with pytest.raises(JudgeError, match="case 1 of 1"):  # objects have no value where the tests are
        await grader.grade("pass", call_tests("assert Box()", "class Box: ..."))
    with pytest.raises(JudgeError, match="never call it"):
        await grader.grade("def f(x): return 1", CallTests("assert True", ("f",), reference="def f(x): ..."))


async def test_a_dead_sandbox_is_an_error() -> None:
    grader = await CodeGraders(Local()).open()
    await grader.close()
    await grader.close()
    with pytest.raises(SandboxError):
        await grader.grade("def f(x): return 1", call_tests("assert f(1) == 1", None))


async def test_tests_that_never_end_with_a_program(grader: CodeGrader) -> None:
    tests = call_tests("while f(1): pass\nassert True", "def f(x): return 0")
    score = await grader.grade("def f(x): return 1", tests)
    assert (score.right, score.timed_out) == (False, True)


STREAMS = StreamTests(("1 2\n", "3 4\n"), ("3\n", "7\n"))


@pytest.mark.parametrize(
    ("program", "passed"),
    [
        ("a, b = map(int, input().split())\nprint(a + b)", 2),
        ("import sys\nprint(sum(map(int, sys.stdin.read().split())), end='')", 2),
        ("import sys\nsys.stdout.buffer.write(b'%d' % sum(map(int, sys.stdin.buffer.readline().split())))", 2),
        ("import os\nos.write(1, b'%d' % sum(map(int, open(0).read().split())))\nos._exit(0)", 2),
        (
            "def f():\n    print(sum(map(int, input().split())))\nif __name__ == '__main__':\n    f(); exit()",
            2,
        ),
        ("import threading\nthreading.Thread(target=lambda: print(sum(map(int, input().split())))).start()", 2),
        ("print(3)", 1),
        ("print(sum(map(int, input().split())))\nraise SystemExit(1)", 0),
        ("print(sum(map(int, input().split())), 0)", 0),
        ("n = sum(map(int, input().split()))\nassert n == 3\nprint(n)", 1),
        ("import os\nos._exit(0)", 0),
        ("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)", 0),
        ("import os\nwhile True: os.write(1, b'x' * 65536)", 0),
        ("while True: pass", 0),
        ("not Python", 0),
    ],
)
async def test_programs_on_stdin_and_stdout(grader: CodeGrader, program: str, passed: int) -> None:
    score = await grader.grade(program, STREAMS)
    assert (score.passed, score.cases, score.right) == (passed, 2, passed == 2)


@pytest.mark.parametrize(
    ("printed", "right"), [("0.3333333", 1), ("0.34", 0), ("nan", 0), ("1/3", 0), ("1e999", 0)]
)
async def test_printed_decimals_may_differ_a_little(grader: CodeGrader, printed: str, right: bool) -> None:
    score = await grader.grade(f"print({printed!r})", StreamTests(("",), ("0.33333333\n",)))
    assert score.right == right


@pytest.mark.slow
@pytest.mark.parametrize("name", ["humaneval", "mbpp"])
async def test_reference_solutions_pass_and_cheats_do_not(data: Path, name: str) -> None:
    tasks = task_source(str(data / "code" / f"{name}.jsonl")).draw(None, random.Random(0), "all")

    grader = await CodeGraders(Local(), timeout=60.0).open()

    async def judge(number: int, task: Task) -> list[str]:
        tests = find_tests(task)
        assert isinstance(tests, CallTests)
        assert tests.reference is not None
        wrong = (
            [] if (await grader.grade(tests.reference, tests)).right else [f"{task.id}: its own solution fails"]
        )
        quick = [cheat for cheat in CHEATS if cheat not in ("a loop", "a flood")]
        for cheat in quick if name == "humaneval" else [quick[number % len(quick)]]:
            program = f"{CHEATS[cheat]}\n{tests.names[0]} = globals().get('f')"
            if (await grader.grade(program, tests)).right:
                wrong.append(f"{task.id}: {cheat} passes")
        return wrong

    try:
        found = await asyncio.gather(*(judge(number, task) for number, task in enumerate(tasks)))
    finally:
        await grader.close()
    assert [line for lines in found for line in lines] == []
