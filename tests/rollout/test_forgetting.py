"""What an environment takes back is gone from the policy's context, and all else stays, id for id."""

from __future__ import annotations

import copy
import random
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest

from agentgym.engine import Sample, Sampling
from agentgym.errors import EnvError
from agentgym.models.chat import Chat
from agentgym.rollout.demonstrations import Demonstrations
from agentgym.rollout.entropy_branching import EntropyBranching
from agentgym.rollout.independent import Independent
from agentgym.rollout.manager import Manager
from agentgym.rollout.strategy import RolloutStrategy
from agentgym.rollout.tree_search import TreeSearch
from agentgym.rollout.walk import Limits, Walk
from agentgym.services import Services
from agentgym.trainers.base import Packing, Scored
from agentgym.trainers.learner import Learner
from agentgym.types import Group, Outcome, Task, Tokens

from .forgetful import Forgetful, Notes

Ids = tuple[int, ...]
FORGETS = Forgetful()
BEGINS_ANEW = Forgetful(forget=(2,), anew=(0, 3))
STRATEGIES: dict[str, RolloutStrategy] = {
    "independent": Independent(),
    "forks after answers": EntropyBranching(1, branch_probability=1.0, entropy_weight=0.0, beam_size=3),
    "forks before answers": EntropyBranching(1, branch_probability=1.0, entropy_weight=0.0, compat="released"),
    "search": TreeSearch(width=3),
}


class Witness:
    """The real engine, and what went in and came out, by session. computed: prompt tokens, for each call."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.calls: dict[str, list[tuple[Ids, Ids]]] = {}
        self.computed: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    async def sample(
        self, ids: Sequence[int], sampling: Sampling, *, session: str, parent: str | None = None
    ) -> Sample:
        prompt, before = tuple(ids), self.engine.prefilled
        sample: Sample = await self.engine.sample(ids, sampling, session=session, parent=parent)
        self.calls.setdefault(session, []).append((prompt, sample.tokens.ids))
        self.computed.append(self.engine.prefilled - before)
        return sample

    @property
    def all(self) -> list[tuple[Ids, Ids]]:
        return sorted(call for calls in self.calls.values() for call in calls)


@pytest.fixture
def witness(engine: Any) -> Witness:
    return Witness(engine)


async def play(
    make: Callable[..., Manager], strategy: RolloutStrategy, witness: Any, env: Forgetful = FORGETS
) -> list[Group]:
    manager = make(env, episode_timeout=60.0, max_error_frac=0.0)
    manager.engine = witness
    tasks = [(f"g{i}", task) for i, task in enumerate(Notes().draw(2, random.Random(0)))]
    return await manager.run(strategy, tasks, 0, 6)


def contains(ids: Ids, part: Ids) -> bool:
    return any(ids[i : i + len(part)] == part for i in range(len(ids) - len(part) + 1))


@pytest.mark.parametrize("env", [FORGETS, BEGINS_ANEW], ids=["forgets", "begins anew"])
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_trained_under_the_very_context_that_was_sampled_under(
    strategy: str, env: Forgetful, manager: Callable[..., Manager], witness: Witness, model: Any
) -> None:
    groups = await play(manager, STRATEGIES[strategy], witness, env)
    after_gaps = [(group.id, turn.parent) for group in groups for turn in group.turns if turn.recalled is not None]
    assert len(after_gaps) > 10
    said = sorted((g.seen(i), turn.action.ids) for g in groups for i, turn in enumerate(g.turns))
    assert said == witness.all
    if strategy != "independent":
        assert len(after_gaps) > len(set(after_gaps)), "no fork after something was taken back"
    layouts: tuple[Packing, ...] = ("tree", "flat")
    for packing in layouts:
        learner = Learner(copy.deepcopy(model), packing=packing)
        batch = [Scored(group, leaf) for group in groups for leaf in group.leaves()]
        trained = 0
        for pack in learner.layout.packs(batch, [1.0] * len(batch), 10**5):
            now = learner.logprobs(pack)[0].tolist()
            trained += len(now)
            assert now == pytest.approx([entry.old_logprob for entry in pack.entries], abs=1e-4)
        assert trained == sum(scored.length for scored in batch), "each token of each trajectory, once"


async def test_what_is_taken_back_never_comes_again_and_all_else_stays(
    manager: Callable[..., Manager], witness: Witness
) -> None:
    groups = await play(manager, Independent(), witness)
    for group in groups:
        for number, path in enumerate(group.trajectories()):
            calls = witness.calls[f"{group.id}/{number}"]
            kept: Ids = ()
            for turn, (prompt, said) in zip(path, calls, strict=True):
                assert prompt == kept + turn.context.ids
                assert said == turn.action.ids
                kept = (kept if turn.info["forget"] else prompt) + said
            for at, turn in enumerate(path):
                later = [contains(prompt, turn.context.ids) for prompt, _ in calls[at + 1 :]]
                assert later == [not turn.info["forget"]] * len(later)
        assert [turn.recalled is not None for turn in path] == [False, False, True, False, True, True]


async def test_only_what_comes_after_the_gap_is_computed_again(
    manager: Callable[..., Manager], witness: Witness
) -> None:
    alone = manager(Forgetful(), max_error_frac=0.0)
    alone.engine = witness
    await alone.run(Independent(), [("g", Task("t", "Hello", ""))], 0, 1)
    assert len(witness.computed) == 6
    calls = pairwise(witness.calls["g/0"])
    for ((before, said), (after, _)), new in zip(calls, witness.computed[1:], strict=True):
        cached = (before + said)[:-1]  # the last sampled token is never fed
        shared = next((i for i, (a, b) in enumerate(zip(cached, after, strict=False)) if a != b), len(cached))
        assert new == len(after) - 1 - shared
        assert shared > 0


async def test_what_begins_anew_is_a_prompt_with_nothing_before_it_and_another_speaker(
    manager: Callable[..., Manager], witness: Witness, chat: Chat
) -> None:
    groups = await play(manager, Independent(), witness, BEGINS_ANEW)
    for group in groups:
        for number, path in enumerate(group.trajectories()):
            prompts = [prompt for prompt, _ in witness.calls[f"{group.id}/{number}"]]
            for at in (1, 4):
                shown = chat.decode(prompts[at])
                assert shown.startswith("<|im_start|>user\n\n<")
                assert shown.endswith("<|im_end|>\n<|im_start|>assistant\n")
                assert len(prompts[at]) == len(path[at].context)
            assert [turn.agent for turn in path] == [f"speaker {n}" for n in (0, 1, 1, 1, 4, 4)]
            assert prompts[2][: len(prompts[1])] == prompts[1]


@pytest.fixture
async def begin(engine: Any, chat: Chat) -> AsyncIterator[Callable[..., Any]]:
    """`await begin(env)`: a started walk."""
    opened: list[Walk] = []
    async with Services() as services:

        async def start(env: Forgetful) -> Walk:
            walk = Walk(Group("g", Task("t", "Hello", "")), env.make(services), engine, chat, Limits(400), 0, "w")
            opened.append(walk)
            await walk.start()
            return walk

        yield start
        for walk in opened:
            await walk.close()


async def test_between_chat_messages_the_roles_stay_in_order(begin: Callable[..., Any], chat: Chat) -> None:
    walk = await begin(Forgetful(messages=True, forget=(1, 2)))
    talk = [{"role": "user", "content": "Hello"}]
    for number in range(4):
        rendered = chat.tokenizer.apply_chat_template(talk, add_generation_prompt=True, tokenize=False)
        assert chat.decode(walk.ids) == rendered
        ids = chat.speak(f"word {number}", end=True)
        await walk.apply(Sample(Tokens(ids), f"word {number}", "eos"))
        if number in (1, 2):
            del talk[-1]
        talk += [{"role": "assistant", "content": f"word {number}"}, *walk.observation]
    walk.commit()
    assert walk.group.seen(3) + walk.turns[3].action.ids == tuple(walk.ids[: -len(walk._pending)])


async def test_without_a_chat_template_there_is_a_seam_as_well(chat: Chat) -> None:
    tokenizer = copy.deepcopy(chat.tokenizer)
    tokenizer.chat_template = None
    plain = Chat(tokenizer)
    assert plain.decode(plain.extend([])) == "\n"


async def test_the_prompt_cannot_be_taken_back(begin: Callable[..., Any]) -> None:
    walk = await begin(Forgetful(forget=(0,)))
    with pytest.raises(EnvError, match=r"ForgetfulEnv .* is the prompt"):
        await walk.apply(await walk.sample())
    walk = await begin(Forgetful(forget=(1,), anew=(0,)))
    await walk.apply(await walk.sample())
    with pytest.raises(EnvError, match=r"ForgetfulEnv .* is the prompt"):
        await walk.apply(await walk.sample())


async def test_a_failure_after_a_gap_is_recorded_where_it_was(begin: Callable[..., Any]) -> None:
    walk = await begin(Forgetful())
    for _ in range(2):
        await walk.apply(await walk.sample())
    twin = await walk.fork(seed=5, name="twin")
    await twin.close()
    for each in (walk, twin):  # each is a trajectory of its own, so that its failure is a turn of its own
        each.fail(Outcome.ENV_ERROR, "the database is on fire")
        each.commit()
    assert [turn.parent for turn in walk.group.turns] == [None, 0, 1, 1]
    assert walk.group.seen(2) == walk.group.seen(3) == tuple(walk.ids)
    assert not contains(walk.group.seen(2), walk.turns[1].context.ids)


async def test_demonstrations_forget_too(manager: Callable[..., Manager], witness: Witness) -> None:
    groups = await play(manager, Demonstrations(), witness)
    for group in groups:
        for path in group.trajectories():
            for before, turn in pairwise(path):
                assert (turn.recalled is not None) == before.info["forget"]
                assert turn.recalled is None or turn.recalled[-len(before.action) :] == before.action.ids
