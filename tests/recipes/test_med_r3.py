"""Med-R3, by hand."""

from __future__ import annotations

import pytest

TEXTS = ["<think>?</think><search>what</search>", "<think>So.</think><answer>this</answer>"]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        # A tenth for the form, 1 for a right answer and up to 1 for the gold passages, by stage. The last
        # episode is half into the buffer of 3072 tokens that ends at 14336: -0.5.
        ("reasoning", [1.1, 0.1, 1.0, 0.5]),
        ("retrieval", [0.6, 1.1, 0.0, -0.5]),
        ("joint", [1.6, 1.1, 1.0, 0.5]),
    ],
)
async def test_rewards(stage, episode, name, wanted):
    def play(recall, success, texts=TEXTS, last=1):
        infos = [{"recall": recall}, {}]
        return episode(actions=[1, last], observations=[9], texts=texts, infos=infos, success=success)

    malformed = ["<search>what</search>", "this"]
    long = play(0.0, True, malformed, last=14336 - 1536 - 1)
    batch = await stage("med_r3", name).score(
        [play(0.5, True), play(1.0, False), play(0.0, True, malformed), long]
    )
    assert [s.reward for s in batch] == pytest.approx(wanted)


@pytest.mark.parametrize("name", ["reasoning", "retrieval", "joint"])
def test_loss(stage, name):
    # A = 1: ratio 1.5 is cut at 1.2, 1 stays. A = -1: ratio 4 has no bound: (-2.2 + 4) / 3. No KL.
    assert stage("med_r3", name).loss([1, -1], [[1.5, 1.0], [4.0]]) == pytest.approx(1.8 / 3)


def test_stages_and_settings(read_recipe):
    recipe = read_recipe("med_r3")
    assert [stage["name"] for stage in recipe["stages"]] == ["reasoning", "retrieval", "joint"]
    assert (recipe["group_size"], recipe["batch_size"], recipe["batch_size"] // recipe["minibatches"]) == (
        16,
        256,
        64,
    )
