"""report.html: the numbers, the text of episodes, and that the page needs and runs nothing else."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

from agentgym.config import to_table
from agentgym.errors import UserError
from agentgym.report import write_report
from agentgym.run import resolve_settings
from agentgym.runlog import RunLog, read_metrics
from agentgym.types import Group, Outcome, Task, Tokens, Turn
from agentgym.vocabulary import Vocabulary

HOSTILE = '<script src="https://evil.example/x.js">alert(1)</script><img src=//evil.example onerror=alert(2)>'


class Page(HTMLParser):
    """Tags with attributes, and the text a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def tokens(n: int) -> Tokens:
    return Tokens(tuple(range(7000, 7000 + n)))


def episode(name: str, success: bool, outcome: Outcome = Outcome.DONE, output: str = "42") -> Group:
    group = Group(name, Task(f"task-{name}", "6 * 7?", "42"))
    group.turns.append(Turn(None, tokens(5), tokens(10), text="<code>print(6*7)</code>", observation="6 * 7?"))
    last = Turn(0, tokens(3), tokens(4), text=f"answer of {name}", observation=output, reward=float(success))
    last.outcome, last.info = outcome, {"success": success, "tool_calls": 1}
    group.turns.append(last)
    return group


def metrics(stage: str, **values: float) -> dict[str, object]:
    every = {"error_share": 0.0, "episodes": 8, "seconds_rollout": 1.5, "seconds_update": 0.5, "skipped_steps": 0}
    return {"stage": stage, **every, "reward": 0.5, "success": 0.5, "entropy": 0.25, "grad_norm": 1.0, **values}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two stages of 4 and 6 steps; 1 of 4 right after the first, 3 of 4 and a failure after the second."""
    path = tmp_path / "my-run"
    log = RunLog(path, to_table(resolve_settings({"recipe": "retool", "seed": "1234"}, [])), resume=False)
    for step in range(1, 5):
        log.metrics(step, metrics("cold_start", success=1.0))
    log.forests("eval_cold_start", [episode(f"early-{i}", i == 0, output=HOSTILE) for i in range(4)])
    log.metrics(4, {"evaluation": "cold_start", "eval/success": 0.25})
    for step in range(5, 11):
        log.metrics(step, metrics("rl", success=step / 20, grad_norm=math.inf if step == 7 else 1.0))
    late = [episode(f"late-{i}", i != 3) for i in range(4)]
    log.forests("eval_rl", [*late, episode("broken", False, Outcome.ENV_ERROR)])
    log.metrics(10, {"evaluation": "rl", "eval/success": 0.75})
    log.close()
    return path


def figure(html: str, title: str) -> ET.Element:
    """The picture under a caption."""
    found = re.search(rf"<figcaption>{re.escape(title)}</figcaption>(<svg.*?</svg>)", html)
    assert found, f"no figure {title!r}"
    return ET.fromstring(found[1])


def read_off(svg: ET.Element, element: ET.Element) -> list[tuple[float, float]]:
    """The data of a line or dot, as a reader takes them off the axes."""
    labels = [e for e in svg.iter("text") if re.fullmatch(r"[\d.-]+", e.text or "")]
    ys = [(float(e.get("y", "")) - 4, float(e.text or "")) for e in labels if e.get("text-anchor") == "end"]
    xs = [(float(e.get("x", "")), float(e.text or "")) for e in labels if e.get("text-anchor") == "middle"]
    pairs = [p.split(",") for p in element.get("points", "").split()] or [[element.get("cx"), element.get("cy")]]
    return [(_on_axis(xs, float(x or 0)), _on_axis(ys, float(y or 0))) for x, y in pairs]


def _on_axis(ticks: list[tuple[float, float]], place: float) -> float:
    (p0, v0), (p1, v1) = ticks[0], ticks[-1]
    return v0 + (place - p0) * (v1 - v0) / (p1 - p0)


def test_says_what_was_achieved(run):
    text = "".join(Page(write_report(run).read_text()).text)
    assert "my-run" in text
    assert "25.0\xa0% after cold_start, 75.0\xa0% after rl" in text
    # Wilson's 95 % interval of 3 out of 4, and the sampled tokens of an episode: 10 + 4
    assert re.search(r"rl\s*10\s*0\.750\s*0\.301\W+0\.954\s*0\.750\s*1\.00\s*14\.0\s*4\s*1", text)
    assert "10 steps in 0.3 minutes" in text
    assert "1234" in text  # the seed, from the settings
    assert "ppo_clip(" in text


def test_curves_show_the_metrics(run):
    svg = figure(write_report(run).read_text(), "Success")
    raw = [e for e in svg.iter("polyline") if e.get("class") == "raw"]
    assert len(raw) == 1  # the demonstrator's success in cold_start is not the policy's
    expected = [(step, step / 20) for step in range(5, 11)]
    for seen, meant in zip(read_off(svg, raw[0]), expected, strict=True):
        assert seen == pytest.approx(meant, abs=0.03)
    dots = [read_off(svg, e)[0] for e in svg.iter("circle") if e.get("class") == "eval"]
    assert dots == [pytest.approx((4, 0.25), abs=0.03), pytest.approx((10, 0.75), abs=0.03)]
    assert [e.text for e in svg.iter("text") if e.get("class") == "stage-name"] == ["cold_start", "rl"]


def test_no_curve_runs_across_a_stage_boundary_or_through_infinity(run):
    svg = figure(write_report(run).read_text(), "Gradient norm")
    steps = [[round(x) for x, _ in read_off(svg, e)] for e in svg.iter("polyline") if e.get("class") == "raw"]
    assert steps == [[1, 2, 3, 4], [5, 6, 8, 9, 10]]


def test_seconds_per_step_are_rollout_and_update_together(run):
    svg = figure(write_report(run).read_text(), "Seconds per step")
    line = next(e for e in svg.iter("polyline") if e.get("class") == "curve")
    assert [y for _, y in read_off(svg, line)] == pytest.approx([2.0] * 4, abs=0.02)


def test_tool_output_stays_text(run):
    page = Page(write_report(run).read_text())
    assert not [tag for tag, _ in page.tags if tag in ("script", "img", "iframe", "link", "object")]
    assert HOSTILE in page.text  # the reader sees it as it was


def test_steps_that_had_nothing_to_learn_from_are_counted(run):
    assert "no group to learn from" not in write_report(run).read_text()
    rows = read_metrics(run)
    for row in rows:
        if row.get("stage") == "rl" and row["step"] > 7:
            del row["grad_norm"]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert "0 updates skipped; no group to learn from in 3 of 6 steps of rl." in write_report(run).read_text()


def test_neutralised_markers_tell_what_the_tool_printed(tmp_path):
    printed = "1 < 2 & <|im_end|> [INST] </code> &lt;b> 'x' \"y\" <script>"
    output = Vocabulary().neutralise(printed, ("code",))
    path = tmp_path / "marked"
    log = RunLog(path, to_table(resolve_settings({"recipe": "retool"}, [])), resume=False)
    log.forests("eval_rl", [episode("a", True, output=output)])
    log.metrics(1, metrics("rl"))
    log.metrics(1, {"evaluation": "rl", "eval/success": 1.0})
    log.close()
    html = write_report(path).read_text()
    page = Page(html)
    assert output in "".join(page.text)  # as the policy saw it
    titles = [attributes["title"] for tag, attributes in page.tags if tag == "mark" and attributes]
    assert titles == ["printed as <", "printed as [", "printed as <", "printed as &"]
    passage = re.search(r'class="passage tool">.*?class="text">(.*?)</div>', html, re.S)
    assert passage
    hovered = re.sub(r'<mark title="printed as (.*?)">.*?</mark>', r"\1", passage[1])
    assert "".join(Page(hovered).text) == printed


def test_what_was_taken_back_is_shown_struck_out(tmp_path):
    path = tmp_path / "forgetting"
    log = RunLog(path, to_table(resolve_settings({"recipe": "retool"}, [])), resume=False)
    group = episode("a", True, output="a red herring &lt;b>")
    group.turns[1].info["forget"] = True
    log.forests("eval_rl", [group])
    log.metrics(1, {"evaluation": "rl", "eval/success": 1.0})
    log.close()
    html = write_report(path).read_text()
    shown = re.search(r'class="passage dropped"><div class="speaker">dropped</div>(.*?)</div>', html, re.S)
    assert shown
    assert "a red herring &lt;b>" in "".join(Page(shown[1]).text)
    assert re.search(r"\.passage\.dropped[^}]*line-through", html)


def test_needs_no_network(run):
    page = Page(write_report(run).read_text())
    for tag, attributes in page.tags:
        assert not {"src", "href", "srcset", "action", "data"} & attributes.keys(), tag
        assert not any(name.startswith("on") for name in attributes), tag
    style = re.search(r"<style>(.*?)</style>", write_report(run).read_text(), re.S)
    assert style
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_episodes_before_and_after_tell_policy_from_tool(run):
    html = write_report(run).read_text()
    after = html[html.index("After rl") :]
    assert re.search(
        r'class="passage policy"><div class="speaker">policy</div><div class="text">&lt;code&gt;', after
    )
    assert re.search(r'class="passage tool"><div class="speaker">tool</div><div class="text">42', after)
    assert "answer of early-0" in html
    assert "answer of late-3" in html  # the failure
    assert "answer of broken" not in html  # the machinery's failure says nothing about the policy
    assert "7003" not in html  # token ids are for machines


def test_a_run_that_has_just_begun(tmp_path):
    path = tmp_path / "new"
    RunLog(path, to_table(resolve_settings({"recipe": "retool"}, [])), resume=False).close()
    text = "".join(Page(write_report(path).read_text()).text)
    assert "No step was made yet" in text
    assert "No evaluation was made yet" in text


def test_long_runs_stay_small(tmp_path):
    path = tmp_path / "long"
    RunLog(path, to_table(resolve_settings({"recipe": "retool"}, [])), resume=False).close()
    rows = [{"step": step, **metrics("rl", success=step / 20000)} for step in range(1, 20001)]
    (path / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    html = write_report(path).read_text()
    assert len(html) < 200_000
    svg = figure(html, "Success")
    line = read_off(svg, next(e for e in svg.iter("polyline") if e.get("class") == "raw"))
    assert all(y == pytest.approx(x / 20000, abs=0.02) for x, y in line)


def test_not_a_run_directory(tmp_path):
    with pytest.raises(UserError, match=r"not a run directory.*config\.toml"):
        write_report(tmp_path)
