"""Episodes as text: what a recorded rollout says without a tokenizer."""

from __future__ import annotations

from agentgym import run
from agentgym.runlog import group_from_json, group_to_json
from agentgym.transcript import facts, passages


async def test_a_played_episode_reads_as_it_went():
    settings = run.resolve_settings({"env": {"name": "retool", "demo_error_rate": "0"}}, [])
    groups, decode = await run.rollout(settings, 2, demo=True)
    for group in groups:
        (turns,) = (group_from_json(group_to_json(group))).trajectories()
        parts = passages(turns)
        assert [part.kind for part in parts] == ["prompt", "policy", "tool", "policy"]
        assert parts[0].text == decode(turns[0].context.ids)
        assert str(group.task.prompt) in parts[0].text
        assert group.task.answer in parts[2].text  # what the interpreter printed
        assert f"boxed{{{group.task.answer}}}" in parts[3].text
        assert {part.speaker for part in parts} == {"prompt", "demo", "tool"}
        end = facts(turns)
        assert (end.success, end.outcome, end.tool_calls) == (True, "done", 1)
        context = sum(len(turn.context) for turn in turns)
        assert end.prompt_tokens + end.tool_tokens == context
