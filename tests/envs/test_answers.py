"""Pairs of answers, judged by hand: the same meaning, or not."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from pathlib import Path

import pytest

from agentgym.boxed import last_boxed
from agentgym.envs.answers import compare
from agentgym.envs.expressions import hits_target
from agentgym.envs.grading import MathGrader, MathWorkers, grade
from agentgym.errors import JudgeError, TaskError
from agentgym.services import Services
from agentgym.types import Task

HANGING = r"\sqrt{2}"  # against a tower of powers

PLAIN_SAME = [
    ("18", "18.0"),
    ("18", r"\$18"),
    ("18", r"18\text{ dollars}"),
    ("-1", "−1"),
    (r"11,\! 111,\! 111,\! 100", "11,111,111,100"),
    ("410332.8999999999", "410332.9"),
    ("0.3", "0.30000000000000004"),
    (r"\frac{1}{3}", "0.3333333333333333"),
    (r"\frac43", "4/3"),
    (r"\frac{3}{4}", r"75\%"),
    (r"50\%", "50"),
    (r"50\%", "0.5"),
    (r"90^\circ", r"90 \text{ degrees}"),
    (r"\frac{270}7\text{ degrees}", r"\frac{270}{7}^\circ"),
    (r"12 \text{ cm}^2", r"12 \text{ square centimeters}"),
    (r"\text{east}", "East"),
    (r"\text{(C)}", "C"),
    ("C", r"\text{(C)}"),
    ("40_9", "40_{9}"),
    (".0000672", "6.72e-05"),
]
PLAIN_DIFFERENT = [
    ("18", "18.01"),
    ("18", ""),
    ("9284017268534.4", "9284017268535.4"),
    (r"\frac{1}{3}", "0.33"),
    (r"\frac{3}{4}", "4/3"),
    (r"50\%", r"5000\%"),
    ("50", "0.5"),
    (r"5.4 \text{ cents}", r"5.4 \text{ dollars}"),
    (r"12 \text{ cm}^2", r"12 \text{ cm}"),
    (r"\text{east}", "west"),
    ("east", "seat"),
    (r"\text{(C)}", "D"),
    ("40_9", "40_8"),
    ("40_9", "36"),
    (".0000672", ".0000673"),
    ("18", "1" * 5000),
]
ALGEBRA_SAME = [
    ("100000", "10^5"),
    ("0.0000672", r"6.72 \times 10^{-5}"),
    ("18", "x = 20 - 2 = 18"),
    ("18", "x = 18"),
    ("p - q", "-q + p"),
    ("6+9i", "9*I + 6"),
    ("3, 5, 7", "7,5,3"),
    (r"\left( \frac{3}{2}, -13 \right)", "(1.5, -13)"),
    (r"(2,\infty)", "(2, oo)"),
    (r"x \in [-2,7]", "[-2,7]"),
    ("y = 2x + 3", "3+2x"),
    (r"\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix}", r"\begin{bmatrix} 0.2 \\ -3.6 \end{bmatrix}"),
    (r"\frac{3\sqrt{3}}{4}", "3*sqrt(3)/4"),
    ("x^{10} - 1", "x**10 - 1"),
    (r"7\pi", "21.991148575128552"),
    (r"11\sqrt2", r"\sqrt{242}"),
    (r"\frac{\sqrt{2}}{100000}", "1.41421356e-05"),
    (r"\{1, 2, 3\}", r"\{3, 2, 1\}"),
    (r"3\frac{1}{2}", r"\frac{7}{2}"),
    (r"3 \text{ or } 5", r"5 \text{ or } 3"),
]
ALGEBRA_DIFFERENT = [
    ("18", "18, 19"),
    ("18", "18 + 1"),
    ("18", "20 - 2"),
    ("18", r"\frac{20+16}{2}"),
    ("440040051", "48213*9127"),
    ("440040051", "x = 48213*9127"),
    ("440040051", r"\sqrt{48213^2} \cdot 9127"),
    ("0", "1 000 000"),
    ("p-q", "q-p"),
    ("6+9i", "9+6i"),
    ("3, 5, 7", "3, 5"),
    ("(15,-29)", "(-29,15)"),
    ("(3,4]", "[3,4]"),
    ("(2,4)", "(4,2)"),
    ("y = 2x + 3", "y = 2x + 4"),
    ("x=5", "y=5"),
    ("2", r"2\pi"),
    (r"7\pi", "22"),
    (r"\frac{\sqrt{2}}{100000}", "1.42e-05"),
    ("12", "1{2"),
    ("12", "$12$ and $13$"),
    ("12", r"12 \text{ and } 13"),
    (r"3 \text{ or } 5", "3"),
    ("5", "5 million"),
    ("2", "2 plus 10"),
]


@pytest.mark.parametrize(("gold", "answer"), PLAIN_SAME)
def test_plain_answers_with_the_same_meaning_need_no_worker(gold: str, answer: str) -> None:
    assert compare(gold, answer) is True


@pytest.mark.parametrize(("gold", "answer"), PLAIN_DIFFERENT)
def test_plain_answers_with_another_meaning_need_no_worker(gold: str, answer: str) -> None:
    assert compare(gold, answer) is False


async def test_answers_that_take_algebra() -> None:
    async with Services() as services:
        for right, pairs in ((True, ALGEBRA_SAME), (False, ALGEBRA_DIFFERENT)):
            for gold, answer in pairs:
                verdict = await grade(Task("t", "?", gold), answer, "auto", services)
                assert verdict.right is right, (gold, answer, verdict)
                assert not verdict.timed_out


async def test_any_of_several_right_answers_is_right() -> None:
    task = Task("t", "?", "Candlewood Lake", {"answers": ["Candlewood", r"\sqrt{242}"]})
    async with Services() as services:
        for answer, right in (("Candlewood", True), (r"11\sqrt{2}", True), ("Lake", False)):
            assert (await grade(task, answer, "auto", services)).right is right
        unknown = Task("t", "?", "Rome", {"answerable": False})
        assert (await grade(unknown, "noanswer", "auto", services)).right
        assert not (await grade(unknown, "Rome", "auto", services)).right


async def test_an_answer_that_hangs_the_checker_is_wrong_flagged_and_harms_nobody_else() -> None:
    grader = MathGrader(MathWorkers(count=1, deadline=3.0))
    verdict = await grader.compare(HANGING, "10^{10^{10^{10}}}")
    assert not verdict.right
    assert verdict.timed_out
    assert (await grader.compare("p - q", "-q + p")).right
    await grader.close()


async def test_no_worker_outlives_a_question_that_was_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    started, start, second = [], MathGrader._start, asyncio.Event()

    async def remember(self: MathGrader) -> Process:
        started.append(await start(self))
        if len(started) == 2:
            second.set()
        return started[-1]

    monkeypatch.setattr(MathGrader, "_start", remember)
    grader = MathGrader(MathWorkers(count=1, deadline=0.5))
    await grader.compare(HANGING, "10^{10^{10^{10}}}")
    asking = asyncio.create_task(grader.compare(HANGING, "10^{10^{10^{10}}}"))
    await second.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert [worker.returncode for worker in started] == [-9, -9]


async def test_an_answer_that_kills_the_checker_is_wrong_and_flagged(tmp_path: Path) -> None:
    program = tmp_path / "worker.py"
    program.write_text("import sys\nprint('{}', flush=True)\nsys.stdin.readline()\n")
    grader = MathGrader(MathWorkers(program=str(program)))
    verdict = await grader.compare("1", "x")
    assert not verdict.right
    assert verdict.timed_out


async def test_a_checker_that_cannot_start_is_an_error_of_the_judge_not_a_wrong_answer(tmp_path: Path) -> None:
    program = tmp_path / "worker.py"
    program.write_text("raise SystemExit('no algebra here')\n")
    with pytest.raises(JudgeError, match="no algebra here"):
        await MathGrader(MathWorkers(program=str(program))).compare("1", "x")


async def test_a_checker_killed_while_idle_is_replaced() -> None:
    grader = MathGrader(MathWorkers(count=1))
    assert (await grader.compare("p - q", "-q + p")).right
    grader._idle[0].kill()
    await grader._idle[0].wait()
    assert (await grader.compare("p - q", "-q + p")).right
    await grader.close()


async def test_numbers_are_judged_without_starting_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(self: MathGrader) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr(MathGrader, "_start", refuse)
    async with Services() as services:
        for i in range(256):
            assert (await grade(Task("t", "?", str(i)), str(i), "auto", services)).right
            assert not (await grade(Task("t", "?", str(i)), f"{i + 1}", "auto", services)).right


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{5}", "5"),
        (r"\boxed{4} no, \boxed{5}", "5"),
        (r"\boxed{\frac{\sqrt{3}}{4}} done", r"\frac{\sqrt{3}}{4}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{1\right.}", r"\left\{1\right."),
        (r"\boxed{\begin{pmatrix}1\\2\end{pmatrix}}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{7} and then \boxed{8", "7"),
        ("no box", None),
        (r"\boxed 5", None),
    ],
)
def test_the_answer_is_the_last_complete_box(text: str, answer: str | None) -> None:
    assert last_boxed(text) == answer


@pytest.mark.parametrize(
    ("expression", "right"),
    [
        ("(94+(33-73))", True),
        ("94 + 33 - 73", True),
        ("94 + 33 - 73 = 54", True),
        (r"94 + 33 - 73 \times 1", False),
        ("94+33-73 = 55", False),
        ("94+33", False),
        ("54", False),
        ("94+33-73+94-94", False),
        ("94+33-73*0+0", False),
        ("__import__('os').getpid()", False),
        ("94**33-73", False),
        ("94+33-73" + "(" * 5000, False),
        ("94/(33-33)", False),
        ("[94,33,73]", False),
    ],
)
def test_countdown_takes_any_exact_expression_and_nothing_else(expression: str, right: bool) -> None:
    assert hits_target(expression, [33, 73, 94], 54) is right


def test_countdown_computes_in_fractions() -> None:
    assert hits_target(r"8 \div (3 - 8 \div 3)", [3, 3, 8, 8], 24)
    assert not hits_target("8/(3-8/3)", [3, 8, 8], 24)
    assert not hits_target("8/(3-3)", [3, 3, 8], 24)


def test_countdown_wants_every_number_used() -> None:
    assert not hits_target("25 - 1", [1, 1, 25], 24)
    assert hits_target("(25 - 1) * 1", [1, 1, 25], 24)


async def test_the_countdown_checker_needs_its_numbers() -> None:
    async with Services() as services:
        with pytest.raises(TaskError, match="needs numbers and target"):
            await grade(Task("t", "?", "1"), "1", "countdown", services)
