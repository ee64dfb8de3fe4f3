"""What is trained is what was sampled: the same ids after the same ids, with the same log-probabilities."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from agentgym.engine import Sample, Sampling
from agentgym.rollout.independent import Independent
from agentgym.rollout.walk import Walk
from agentgym.trainers.base import Scored
from agentgym.trainers.pack import Pack, pack_trajectories
from agentgym.types import Group, Source, Tokens


class Witness:
    """The real engine, and a record of what went in and came out."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.calls: dict[str, list[tuple[tuple[int, ...], Tokens]]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    async def sample(
        self, ids: Sequence[int], sampling: Sampling, *, session: str, parent: str | None = None
    ) -> Sample:
        prompt = tuple(ids)
        sample: Sample = await self.engine.sample(ids, sampling, session=session, parent=parent)
        self.calls.setdefault(session, []).append((prompt, sample.tokens))
        return sample


def path_of(pack: Pack, segment: int) -> list[int]:
    """The ids from the root to the end of a segment, read from the pack alone."""
    here = pack.segments[segment]
    above = [] if here.parent is None else path_of(pack, here.parent)
    return above[: here.position] + here.ids


def trained(pack: Pack) -> list[tuple[tuple[int, ...], int, float]]:
    """Each entry of the loss: the ids before it along its path, its own id, and the log-probability kept."""
    found = []
    for entry in pack.entries:
        ids = path_of(pack, entry.segment)
        at = pack.segments[entry.segment].position + entry.index
        found.append((tuple(ids[:at]), ids[at], entry.old_logprob))
    return found


def sampled(calls: Sequence[tuple[tuple[int, ...], Tokens]]) -> list[tuple[tuple[int, ...], int, float]]:
    """The same, from the engine's own record."""
    found = []
    for prompt, tokens in calls:
        assert tokens.logprobs is not None
        for i, (token, logprob) in enumerate(zip(tokens.ids, tokens.logprobs, strict=True)):
            found.append((prompt + tokens.ids[:i], token, logprob))
    return found


def check(policy: Any, groups: Sequence[Group], witness: Witness) -> float:
    """Asserts that the packs train exactly what the engine sampled; returns the largest drift in logprobs."""
    drift = 0.0
    for group in groups:
        for i, leaf in enumerate(group.leaves()):
            (pack,) = pack_trajectories([Scored(group, leaf)], [1.0], 10**6)
            calls = witness.calls[f"{group.id}/{i}"]
            for (before, said), (after, _) in pairwise(calls):
                assert after[: len(before) + len(said)] == before + said.ids, "the prompt was rewritten"
            assert trained(pack) == sampled(calls), "trained on other tokens than were sampled"
            now = policy.learner.logprobs(pack)[0].tolist()
            drift = max(drift, *(abs(a - e.old_logprob) for a, e in zip(now, pack.entries, strict=True)))
    return drift


async def play(policy: Any, **options: Any) -> tuple[list[Group], Witness]:
    witness = Witness(policy.engine)
    return await policy.play(Independent(), 4, group_size=4, engine=witness, **options), witness


Played = tuple[list[Group], Witness]


@pytest.fixture(scope="module", params=["free", "lockstep"])
def played(policy: Any, request: pytest.FixtureRequest) -> Played:
    return asyncio.run(play(policy, temperature=1.3, deterministic=request.param == "lockstep"))


async def test_trained_ids_are_the_sampled_ids_and_logprobs_agree(policy: Any, played: Played) -> None:
    groups, witness = played
    turns = [len(path) for group in groups for path in group.trajectories()]
    assert max(turns) >= 3, "no episode of several turns: this test would say little"
    assert check(policy, groups, witness) < 1e-4


async def test_what_the_environment_says_is_appended_as_rendered(policy: Any, played: Played) -> None:
    groups, _ = played
    encode = policy.chat.tokenizer.encode
    for group in groups:
        for path in group.trajectories():
            prompt = policy.chat.tokenizer.apply_chat_template(
                [{"role": "user", "content": group.task.prompt}], add_generation_prompt=True, return_dict=False
            )
            assert list(path[0].context.ids) == prompt
            for turn in path[1:]:
                assert turn.observation.startswith("\n<interpreter>\n")
                assert list(turn.context.ids) == encode(turn.observation, add_special_tokens=False)
                assert turn.context.logprobs is None


async def test_a_whole_group_in_one_pack_keeps_every_path(policy: Any, played: Played) -> None:
    groups, witness = played
    for group in groups:
        batch = [Scored(group, leaf) for leaf in group.leaves()]
        (pack,) = pack_trajectories(batch, [1.0] * len(batch), 10**6)
        calls = [witness.calls[f"{group.id}/{i}"] for i in range(len(batch))]
        assert trained(pack) == [row for call in calls for row in sampled(call)]
        now = policy.learner.logprobs(pack)[0].tolist()
        kept = [entry.old_logprob for entry in pack.entries]
        assert now == pytest.approx(kept, abs=1e-4)


async def test_encoding_a_decoded_trajectory_gives_other_ids(policy: Any, played: Played) -> None:
    """So the checks above can tell: on this tokenizer no way of re-encoding is harmless."""
    groups, _ = played
    tokenizer = policy.chat.tokenizer
    changed = {"whole": 0, "action": 0}
    for group in groups:
        for path in group.trajectories():
            ids = [i for turn in path for part in (turn.context, turn.action) for i in part.ids]
            changed["whole"] += tokenizer.encode(tokenizer.decode(ids)) != ids
            for turn in path:
                again = tokenizer.encode(tokenizer.decode(turn.action.ids), add_special_tokens=False)
                changed["action"] += again != list(turn.action.ids)
    assert all(changed.values()), changed


class ReencodesActions(Walk):
    """Keeps the text the policy said and encodes it anew, as chat APIs make one do."""

    async def apply(self, sample: Sample, source: Source = "on_policy") -> None:
        ids = self.renderer.speak(sample.text, end=sample.finish == "eos")
        kept = ((sample.tokens.logprobs or ()) + (0.0,) * len(ids))[: len(ids)]
        await super().apply(replace(sample, tokens=Tokens(ids, kept)), source)


class ReencodesConversations(Walk):
    """Encodes the conversation so far anew whenever something is added to it."""

    async def apply(self, sample: Sample, source: Source = "on_policy") -> None:
        await super().apply(sample, source)
        self.ids = list(self.renderer.speak(self.renderer.decode(self.ids), end=False))


class ForgetsATurn(Walk):
    """Trains a context that the policy did not see."""

    async def apply(self, sample: Sample, source: Source = "on_policy") -> None:
        await super().apply(sample, source)
        self._pending = self._pending[:-1]


@pytest.mark.parametrize("walk", [ReencodesActions, ReencodesConversations, ForgetsATurn])
async def test_a_walk_that_reencodes_is_found_out(
    policy: Any, walk: type[Walk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentgym.rollout.manager.Walk", walk)
    groups, witness = await play(policy, temperature=1.3)
    with pytest.raises(AssertionError, match=r"rewritten|other tokens"):
        check(policy, groups, witness)
