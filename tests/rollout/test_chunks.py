"""Thinking in chunks: what each begins with, id for id, what the environment hears, and what is trained."""

from __future__ import annotations

import copy
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
import torch

from agentgym.chunks import Chunks
from agentgym.config import build
from agentgym.engine import Sample, Sampling
from agentgym.errors import ConfigError, EngineError
from agentgym.models.chat import Chat
from agentgym.rollout.demonstrations import Demonstrations
from agentgym.rollout.entropy_branching import EntropyBranching
from agentgym.rollout.independent import Independent
from agentgym.rollout.manager import Manager
from agentgym.rollout.strategy import RolloutStrategy
from agentgym.rollout.walk import Limits, Walk
from agentgym.services import Services
from agentgym.trainers.base import Packing, Scored
from agentgym.trainers.learner import Learner
from agentgym.trainers.losses.ppo_clip import PpoClip
from agentgym.trainers.reduce import token_weights
from agentgym.types import Group, Outcome, Task, Tokens

from .forgetful import Forgetful
from .test_forgetting import Witness

Ids = tuple[int, ...]
SIZES = {"chunk": 20, "carry": 9, "head": 4, "rounds": 5}


def delethink(**fields: Any) -> Any:
    return build("env", {"name": "delethink", **SIZES, **fields})


@pytest.fixture
def witness(engine: Any) -> Witness:
    return Witness(engine)


async def play(
    make: Callable[..., Manager],
    env: Any,
    witness: Any,
    strategy: RolloutStrategy | None = None,
    limits: Limits | None = None,
) -> list[Group]:
    manager = make(env, limits, episode_timeout=60.0, max_error_frac=0.0)
    manager.engine = witness
    tasks = [(f"g{i}", task) for i, task in enumerate(build("tasks", "sums").draw(2, random.Random(0)))]
    return await manager.run(strategy or Independent(), tasks, 0, 4)


def stream(path: Sequence[Any]) -> Ids:
    """All that was said, in one."""
    return tuple(i for turn in path for i in turn.action.ids)


def cut(total: int) -> list[int]:
    """The lengths of the chunks of a thought of so many tokens: the first holds 20, each other adds 11."""
    return [20, *[11] * ((total - 20) // 11), (total - 20) % 11] if total > 20 else [total]


def lengths(path: Sequence[Any]) -> list[int]:
    return [len(turn.action) for turn in path if len(turn.action)]


def spoke_up(chat: Chat, path: Sequence[Any]) -> bool:
    """Whether the policy, which is random, ended its thought itself."""
    return stream(path)[-1] == chat.tokenizer.eos_token_id


async def test_a_chunk_sees_the_prompt_the_first_and_the_latest_tokens_as_they_were_sampled(
    manager: Callable[..., Manager], witness: Witness, chat: Chat
) -> None:
    groups = await play(manager, delethink(), witness)
    whole = 0
    for group in groups:
        for number, path in enumerate(group.trajectories()):
            calls, prompt = witness.calls[f"{group.id}/{number}"], path[0].context.ids
            said = stream(path)
            assert lengths(path) == [n for n in cut(len(said)) if n]
            assert len(said) == 20 + 4 * 11 or spoke_up(chat, path)
            whole += len(path) == 5
            assert calls[0][0] == prompt
            for chunk in range(1, len(path)):
                before = said[: 20 + 11 * (chunk - 1)]
                assert calls[chunk][0] == prompt + said[:4] + before[-5:]
            assert max(len(seen + new) for seen, new in calls) <= len(prompt) + 20
            assert [turn.outcome for turn in path] == [None] * (len(path) - 1) + [Outcome.DONE]
        sizes = group.context_sizes()
        assert sizes == [len(group.seen(i)) + len(turn.action) for i, turn in enumerate(group.turns)]
    assert whole >= 4


@pytest.mark.parametrize("strategy", ["independent", "branches"])
async def test_trained_under_the_very_context_that_was_sampled_under(
    strategy: str, manager: Callable[..., Manager], witness: Witness, model: Any
) -> None:
    branches = EntropyBranching(1, branch_probability=1.0, entropy_weight=0.0, beam_size=3)
    groups = await play(manager, delethink(), witness, Independent() if strategy == "independent" else branches)
    said = sorted((g.seen(i), turn.action.ids) for g in groups for i, turn in enumerate(g.turns))
    assert said == witness.all
    batch = [Scored(group, leaf) for group in groups for leaf in group.leaves()]
    layouts: tuple[Packing, ...] = ("tree", "flat")
    for packing in layouts:
        learner = Learner(copy.deepcopy(model), packing=packing)
        for pack in learner.layout.packs(batch, [1.0] * len(batch), 10**5):
            now = learner.logprobs(pack)[0].tolist()
            assert now == pytest.approx([entry.old_logprob for entry in pack.entries], abs=1e-4)


class Heard:
    """What an environment was given, by walk."""

    def __init__(self, env: Any) -> None:
        self.env, self.actions, self.chunks = env, list[str](), env.chunks

    def make(self, services: Services) -> Any:
        live = self.env.make(services)
        step = live.step

        async def heard(action: str) -> Any:
            self.actions.append(action)
            return await step(action)

        live.step = heard
        return live


async def test_the_environment_hears_the_whole_thought_and_no_part_of_it(
    manager: Callable[..., Manager], witness: Witness, chat: Chat
) -> None:
    env = Heard(delethink())
    groups = await play(manager, env, witness)
    thoughts = [chat.decode(stream(path)) for group in groups for path in group.trajectories()]
    assert sorted(env.actions) == sorted(thought.removesuffix("<|im_end|>") for thought in thoughts)


async def test_an_answer_that_a_border_cuts_in_two_counts(
    manager: Callable[..., Manager], witness: Witness
) -> None:
    for size in range(12, 32):  # a border at every place of the answer
        env = delethink(chunk=size, carry=8, head=0, rounds=99, inner={"tasks": {"name": "sums", "steps": [3]}})
        (group,) = await manager(env).run(
            Demonstrations(), [("g", env.source().draw(1, random.Random(size))[0])], 0, 1
        )
        (path,) = group.trajectories()
        assert path[-1].info["success"], [turn.text for turn in path]
        assert stream(path)[-1] == manager(env).renderer.tokenizer.eos_token_id


async def test_demonstrations_are_cut_like_the_policys_thoughts(
    manager: Callable[..., Manager], chat: Chat, witness: Witness
) -> None:
    groups = await play(manager, delethink(rounds=99), witness, Demonstrations(), Limits(999))
    for group in groups:
        for path in group.trajectories():
            prompt, said = path[0].context.ids, stream(path)
            assert chat.decode(said).endswith("\\boxed{" + group.task.answer + "}<|im_end|>")
            assert "".join(turn.text for turn in path) + "<|im_end|>" == chat.decode(said)
            assert {len(turn.action) for turn in path[1:-1]} == {11}
            for chunk, turn in enumerate(path[1:]):
                assert turn.recalled == prompt + said[:4] + said[: 20 + 11 * chunk][-5:]


async def test_tokens_and_chunks_both_end_a_thought(
    manager: Callable[..., Manager], witness: Witness, chat: Chat
) -> None:
    for rounds, tokens, wanted in ((5, 33, [20, 11, 2]), (5, 31, [20, 11]), (1, 400, [20]), (2, 400, [20, 11])):
        groups = await play(manager, delethink(rounds=rounds), witness, limits=Limits(tokens))
        paths = [path for group in groups for path in group.trajectories()]
        cut_off = [path for path in paths if not spoke_up(chat, path)]
        assert [lengths(path) for path in cut_off] == [wanted] * len(cut_off)
        assert len(cut_off) >= 4


@pytest.fixture
async def begin(engine: Any, chat: Chat) -> AsyncIterator[Callable[..., Any]]:
    """`await begin(env, chunks)`: a started walk."""
    opened: list[Walk] = []
    async with Services() as services:

        async def start(env: Any, chunks: Chunks) -> Walk:
            group = Group("g", Task("t", "Hello", ""))
            walk = Walk(group, env.make(services), engine, chat, Limits(9999), 0, "w", chunks)
            opened.append(walk)
            await walk.start()
            return walk

        yield start
        for walk in opened:
            await walk.close()


async def test_what_an_environment_shows_is_part_of_the_stream(begin: Callable[..., Any], chat: Chat) -> None:
    chunks = Chunks(size=40, carry=12, head=2, count=99)
    walk = await begin(Forgetful(forget=(), turns=8), chunks)
    prompt, everything = tuple(walk.ids), list[int]()
    since, borders = 0, 0
    for number in range(8):
        text = f"I say the number {number} and a word"
        ids = chat.speak(text, end=False)[:17]
        await walk.apply(Sample(Tokens(ids), text, "stop"))
        everything += [*ids, *(chat.extend(walk.observation) if walk.outcome is None else ())]
        if walk.outcome is None and len(everything) - since >= 40:
            since, borders = len(everything) - 12, borders + 1
            assert tuple(walk.ids) == prompt + tuple(everything[:2] + everything[-10:])
        assert len(walk.ids) <= len(prompt) + 40 + 17, "what is shown may be over the window only until it is cut"
    assert borders >= 3
    walk.commit()
    assert [turn.outcome for turn in walk.group.turns][-1] == Outcome.DONE


async def test_a_fork_within_a_thought_goes_on_from_the_same_words(begin: Callable[..., Any]) -> None:
    walk = await begin(delethink().inside(), Chunks(20, 9, 4, 5))
    for _ in range(2):
        await walk.apply(await walk.sample())
    twin = await walk.fork(seed=walk.seed, name="twin")
    for each in (walk, twin):
        while each.outcome is None:
            await each.apply(await each.sample())
        each.commit()
    await twin.close()
    one, other = walk.group.trajectories()
    assert len(one) == len(other) >= 3
    assert stream(one) == stream(other)
    assert one[-1].info == other[-1].info


async def test_what_is_taken_back_and_chunks_do_not_go_together(begin: Callable[..., Any]) -> None:
    walk = await begin(Forgetful(forget=(1,)), Chunks(200, 20))
    await walk.apply(Sample(Tokens((5, 6)), "a", "stop"))
    with pytest.raises(ConfigError, match="ForgetfulEnv takes back"):
        await walk.apply(Sample(Tokens((5, 6)), "a", "stop"))


async def test_the_engine_refuses_to_pass_the_window(
    engine: Any, monkeypatch: Any, begin: Callable[..., Any]
) -> None:
    with pytest.raises(EngineError, match="window of 9"):
        await engine.sample([1, 2, 3], Sampling(max_tokens=7, window=9))
    assert len((await engine.sample([1, 2, 3], Sampling(max_tokens=6, window=9))).tokens) <= 6
    walk = await begin(delethink().inside(), Chunks(20, 9, 4, 5))
    await walk.apply(await walk.sample())
    walk.ids = [*walk.ids, *walk.ids]  # as if something had been kept that should be gone
    with pytest.raises(EngineError, match="window"):
        await walk.sample()


async def test_a_chunk_that_the_engine_has_no_room_for_is_told_at_once(begin: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match=r"max_len is 4096: a chunk would never be full"):
        await begin(delethink().inside(), Chunks(4096, 9))


async def test_a_stop_text_may_begin_in_one_sample_and_end_in_the_next(engine: Any, chat: Chat) -> None:
    prompt = list(chat.open([{"role": "user", "content": "Hello"}])) + list(chat.speak("abc</cod", end=False))
    plain = await engine.sample(prompt, Sampling(max_tokens=4, temperature=0))
    stop = "</cod" + chat.decode(plain.tokens.ids[:2])
    for begun, finish in ((9, "stop"), (0, "length")):
        sample = await engine.sample(prompt, Sampling(max_tokens=4, temperature=0, stop=(stop,), begun=begun))
        assert (sample.finish, len(sample.tokens)) == (finish, 2 if begun else 4)
    done = await engine.sample(prompt, Sampling(max_tokens=4, temperature=0, stop=("</cod", stop), begun=9))
    assert len(done.tokens) == 2, "one that was complete before does not end what comes after it"


async def test_a_thought_of_one_chunk_is_an_ordinary_one(
    manager: Callable[..., Manager], witness: Witness, model: Any
) -> None:
    chunked = await play(manager, delethink(chunk=60, rounds=5), witness, limits=Limits(60))
    ordinary = await play(manager, delethink().inside(), witness, limits=Limits(60))
    assert [g.turns for g in chunked] == [g.turns for g in ordinary]
    assert loss(chunked, model) == loss(ordinary, model)
    assert loss(ordinary, model) == pytest.approx(grpo(ordinary, model), abs=1e-6)


async def test_the_loss_of_chunks_is_their_tokens_sum_over_the_length_of_the_thought(
    manager: Callable[..., Manager], witness: Witness, model: Any
) -> None:
    groups = await play(manager, delethink(), witness, limits=Limits(50))
    assert max(len(path) for group in groups for path in group.trajectories()) == 4
    assert loss(groups, model) == pytest.approx(grpo(groups, model), abs=1e-6)


def scored(groups: list[Group]) -> list[Scored]:
    """Every thought with a reward of its own."""
    batch = [Scored(group, leaf) for group in groups for leaf in group.leaves()]
    for number, each in enumerate(batch):
        each.reward = float(number)
    found: list[Scored] = build("credit", "group_relative")(batch)
    return found


def loss(groups: list[Group], model: Any) -> float:
    """The trainer's."""
    batch = scored(groups)
    weights = token_weights([s.length for s in batch], [1.0] * len(batch), "sequence_mean")
    learner = Learner(shifted(model))
    return learner.update(batch, weights, [PpoClip(0.2, 0.26)], lr=1e-3, microbatch_tokens=10**5)["loss"]


def shifted(model: Any) -> Any:
    """A policy a step away from the one that sampled, so that ratios are not 1."""
    other = copy.deepcopy(model)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(torch.randn_like(parameter) * 2e-3)
    return other


@torch.no_grad()
def grpo(groups: list[Group], model: Any) -> float:
    """By definition: the mean over thoughts of the mean over their tokens, each chunk alone in the plain model."""
    policy, means = shifted(model), []
    for each in scored(groups):
        terms = torch.zeros(0)
        for index in each.group.path(each.leaf):
            turn, seen = each.group.turns[index], each.group.seen(index)
            logits = policy(input_ids=torch.tensor([seen + turn.action.ids])).logits[0, len(seen) - 1 : -1]
            new = logits.log_softmax(-1).gather(1, torch.tensor(turn.action.ids)[:, None])[:, 0]
            ratio = (new - torch.tensor(turn.action.logprobs)).exp()
            clipped = ratio.clamp(0.8, 1.26) * each.advantage
            terms = torch.cat([terms, -torch.minimum(ratio * each.advantage, clipped)])
        assert float((terms + each.advantage).abs().max()) > 1e-3, "the ratios say something"
        means.append(float(terms.mean()))
    return sum(means) / len(means)
