"""What a person sees of a run, on a terminal and in a pipe."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys

import pytest

from agentgym.config import to_table
from agentgym.console import Console
from agentgym.run import resolve_settings
from agentgym.runlog import RunLog
from agentgym.trainers.evaluate import Evaluation
from agentgym.trainers.settings import Stage
from agentgym.types import Group, Outcome, Task, Tokens, Turn

RESULT = Evaluation(
    tasks=64,
    episodes=250,
    success=0.713,
    interval=(0.654, 0.768),
    pass_at={1: 0.713, 2: 0.812, 4: 0.906},
    reward=0.5,
    tool_calls=1.25,
    tokens=30.5,
    peak_context=131,
    errors=6,
)
METRICS = {
    "reward": 0.4321,
    "success": 0.58,
    "tool_calls": 1.24,
    "entropy": 0.3216,
    "tokens_per_second": 12345.0,
    "frac_reward_zero_std": 0.25,
    "error_share": 0.03,
    "grad_norm": 1.0,
}
RL = Stage("rl", losses=["ppo_clip"])

LIVE = """
import sys
from agentgym.console import Console
from agentgym.trainers.settings import Stage

class Manager:
    def oldest(self):
        return "s7-3/2", 12.4

console = Console()
console.watch(Manager())
try:
    console.stage(Stage("rl", losses=["ppo_clip"]), 8, 0)
    console.step(1, {"reward": 0.25, "grad_norm": 1.0})
    if sys.argv[1] == "wait":
        print("waiting", flush=True)
        sys.stdin.read()
finally:
    console.close()
"""


@pytest.fixture
def pipe(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # even then: a pipe is no terminal
    return io.StringIO()


def train(console: Console, stage: Stage, steps: int, **changes: float) -> None:
    console.stage(stage, steps, 0)
    for step in range(1, steps + 1):
        console.step(step, {**METRICS, **changes})
    console.close()


def on_terminal(mode: str, interrupt: bool = False) -> str:
    """What LIVE writes to a terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    words = [sys.executable, "-c", LIVE, mode]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:  # the terminal's end of file
            break
        if not data:
            break
        seen += data
        if interrupt and b"waiting" in seen:
            process.send_signal(signal.SIGINT)
            interrupt = False
    process.communicate()
    os.close(ours)
    return seen.decode()


def test_pipe_gets_plain_lines(pipe):
    train(Console(pipe), RL, 25)
    text = pipe.getvalue()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
    steps = [line.split()[1] for line in text.splitlines() if line.startswith("rl ")]
    assert steps == ["1/25", "10/25", "20/25", "25/25"]
    line = next(line for line in text.splitlines() if line.startswith("rl 10/25"))
    for words in ("reward 0.43", "success 0.58", "tool calls 1.2", "entropy 0.322", "12,345 tokens/s"):
        assert words in line
    assert "groups without spread 25%" in line
    assert "errors 3%" in line
    assert "left" in line


def test_time_left_is_told_by_the_steps_after_the_first(pipe, monkeypatch):
    """The first one has waited for a pool of demonstrations, or a compiler."""
    now = 0.0
    monkeypatch.setattr("agentgym.console.time.monotonic", lambda: now)
    console = Console(pipe)
    console.stage(RL, 25, 0)
    for step in range(1, 11):
        now += 100 if step == 1 else 2
        console.step(step, {"reward": 1.0})
    first, tenth = (line for line in pipe.getvalue().splitlines() if line.startswith("rl "))
    assert "left" not in first
    assert tenth.endswith("2.0 s/step, 0:30 left")


def test_a_step_that_taught_nothing_says_so(pipe):
    console = Console(pipe)
    console.stage(RL, 1, 0)
    console.step(1, {"reward": 1.0, "error_share": 0.0})
    assert "no update" in pipe.getvalue()


def test_demonstrators_success_is_not_shown_as_the_policys(pipe):
    train(Console(pipe), Stage("cold", rollout={"name": "demonstrations"}, losses=["sft"]), 1, loss=0.5)
    assert "success" not in pipe.getvalue()
    assert "loss 0.5" in pipe.getvalue()


def test_resumed_stage_counts_from_where_it_stopped(pipe):
    console = Console(pipe)
    console.stage(RL, 40, 19)
    console.step(20, METRICS)
    assert "resumed at step 19" in pipe.getvalue()
    assert "rl 20/40" in pipe.getvalue()


def test_evaluations_are_told_at_once(pipe):
    Console(pipe).evaluated("step_50", 50, RESULT)
    assert "evaluation step_50 at step 50: success 0.71 [0.65, 0.77]" in pipe.getvalue()
    assert "errors 6" in pipe.getvalue()


def test_live_display_shows_the_oldest_rollout_and_gives_the_terminal_back():
    text = on_terminal("finish")
    assert "oldest rollout s7-3/2 (12 s)" in text
    assert "reward 0.25" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is shown again
    assert re.search(r"rl 1/8  reward 0\.25", text)  # the last numbers stay


def test_ctrl_c_gives_the_terminal_back():
    text = on_terminal("wait", interrupt=True)
    assert "KeyboardInterrupt" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_evaluation_table(pipe):
    Console(pipe).evaluation(RESULT)
    rows = {cells[0]: cells[1] for cells in map(_cells, pipe.getvalue().splitlines()) if len(cells) == 2}
    assert rows["pass@1 (success)"] == "0.713 [0.654, 0.768]"
    assert rows["pass@4"] == "0.906"
    assert rows["tool calls per episode"] == "1.25"
    assert rows["tokens sampled per episode"] == "30.5"
    assert rows["failed episodes (not counted)"] == "6"


def test_summary_compares_the_first_stage_with_the_last_and_says_where_things_are(pipe, tmp_path):
    path = tmp_path / "a-run"
    log = RunLog(path, to_table(resolve_settings({"recipe": "retool"}, [])), resume=False)
    for step, learned in enumerate([{"grad_norm": 1.0}, {}, {}], 1):
        log.metrics(step, {"stage": "rl", **learned})
    log.close()
    (path / "checkpoints" / "latest").write_text("step_300\n")
    row = {"interval": [0.1, 0.2], "tool_calls": 1.0, "tokens": 20.0}
    evaluations = {
        "step_50": {**row, "success": 0.111, "step": 50},
        "cold_start": {**row, "success": 0.444, "step": 150},
        "step_250": {**row, "success": 0.777, "step": 250},
        "rl": {**row, "success": 0.888, "step": 300},
    }
    Console(pipe).summary(path, evaluations, 3725)
    text = pipe.getvalue()
    before, after = (_cells(line) for line in text.splitlines() if "end of" in line)
    assert before[:3] == ["before", "end of cold_start (step 150)", "0.444 [0.100, 0.200]"]
    assert after[:3] == ["after", "end of rl (step 300)", "0.888 [0.100, 0.200]"]
    assert "finished in 1:02:05; no group to learn from in 2 of 3 steps of rl\n" in text
    for place in ("report.html", "rollouts", "metrics.jsonl", "tensorboard", "checkpoints/step_300"):
        assert any(line.endswith(str(path / place)) for line in text.splitlines())


def test_episode_labels_who_speaks_without_colour(pipe):
    Console(pipe).episode(_episode("31675"))
    lines = pipe.getvalue().splitlines()
    labels = [[part.strip() for part in line.split("│", 1)] for line in lines if "│" in line]
    assert labels == [
        ["prompt", "What is 812 * 39 + 7?"],
        ["policy", "<code>"],
        ["policy", "print(812 * 39 + 7)"],
        ["policy", "</code>"],
        ["tool", "31675"],
        ["policy", "It is \\boxed{31675}"],
    ]
    text = pipe.getvalue()
    assert "success · outcome done · reward 1.00 · 1 tool call" in text
    assert "tokens: 20 prompt, 30 sampled, 9 tool" in text


def test_tool_output_cannot_drive_the_terminal(pipe):
    Console(pipe).episode(_episode("\x1b]0;owned\x07\x1b[2J[red]text[/red]"))
    assert "\x1b" not in pipe.getvalue()
    assert r"\x1b]0;owned\x07" in pipe.getvalue()
    assert "[red]text[/red]" in pipe.getvalue()


def test_contexts_recorded_as_ids_are_decoded(pipe):
    group = _episode("")
    group.turns[1].observation = ""
    Console(pipe).episode(group, lambda ids: f"decoded {len(ids)} ids")
    assert re.search(r"tool +│ decoded 9 ids", pipe.getvalue())


def test_a_branch_does_not_repeat_what_it_shares(pipe):
    group = _episode("31675")
    fork = Turn(0, Tokens((1,)), Tokens((2,)), text="Another end", outcome=Outcome.MAX_TURNS)
    group.turns.append(fork)
    Console(pipe).episode(group)
    text = pipe.getvalue()
    assert text.count("What is 812 * 39 + 7?") == 1
    assert "episode 2, branching after turn 1" in text
    assert "Another end" in text


def test_what_was_taken_back_is_marked_where_it_was_shown(pipe):
    group = _episode("31675")
    group.turns[1].outcome, group.turns[1].info["forget"] = None, True
    end = Turn(1, Tokens((1, 2)), Tokens((3,)), text="So be it", observation="\nnews\n", outcome=Outcome.DONE)
    end.recalled = (7,) * 50
    group.turns.append(end)
    Console(pipe).episode(group)
    labels = re.findall(r"^(\w+) +│ (.*?) *$", pipe.getvalue(), re.M)
    assert labels[-4:] == [
        ("dropped", "31675"),
        ("policy", "It is \\boxed{31675}"),
        ("tool", "news"),
        ("policy", "So be it"),
    ]
    assert "tokens: 20 prompt, 31 sampled, 11 tool" in pipe.getvalue()  # each of them once


def _episode(output: str) -> Group:
    def tokens(n: int) -> Tokens:
        return Tokens(tuple(range(n)))

    group = Group("g", Task("arith-1", "What is 812 * 39 + 7?", "31675"))
    call = "<code>\nprint(812 * 39 + 7)\n</code>"
    group.turns.append(Turn(None, tokens(20), tokens(18), text=call, observation="What is 812 * 39 + 7?\n"))
    last = Turn(0, tokens(9), tokens(12), text="It is \\boxed{31675}", observation=f"\n{output}\n", reward=1.0)
    last.outcome, last.info = Outcome.DONE, {"success": True, "tool_calls": 1}
    group.turns.append(last)
    return group


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"[│┃|]", line) if cell.strip()]
