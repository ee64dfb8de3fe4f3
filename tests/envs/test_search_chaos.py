"""Episodes of env `search` while its search server is killed, or a proxy does its worst; and broken corpora.

Policies are scripts, whose rewards are known: what the machinery fails is no reward, and changes nobody else's.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest

from agentgym.config import build
from agentgym.env import EnvConfig, Split
from agentgym.errors import TaskError
from agentgym.models import nano
from agentgym.models.chat import Chat
from agentgym.rollout.manager import Guard, Manager
from agentgym.rollout.walk import Limits
from agentgym.services import Services
from agentgym.tools.search import NOTHING
from agentgym.trainers.base import Scored, by_group
from agentgym.trainers.plays import Plays
from agentgym.trainers.settings import Settings, Stage
from agentgym.types import Group, Outcome, Task

from ..retrievers.conftest import until  # noqa: TID252
from ..retrievers.faulty import EMPTY, SLOWLY, FaultyProxy, now_and_then  # noqa: TID252
from ..retrievers.server_process import ServerProcess  # noqa: TID252
from ..rollout.scripted import Script  # noqa: TID252

CARDS = 200
GROUPS, SIZE = 60, 8
HALF = GROUPS // 2


@dataclass
class Searcher(Script):
    """A policy that searches `searches` times and then answers, right as often as its group's number says.

    Whether an episode's answer is right depends on its name only, and so is the same whatever becomes of others.
    spoken: its turns so far, of all episodes.
    """

    searches: int = 1
    spoken: int = 0

    def __post_init__(self) -> None:
        Script.__post_init__(self)
        self.say = self._say

    def release(self, session: str) -> None:
        self.sessions.pop(session, None)  # an episode that is tried again begins anew

    def _say(self, session: str, depth: int) -> str:
        self.spoken += 1
        number = number_of(session)
        if depth < self.searches:
            return f"<search>card {word(number + depth)}</search>"
        return f"<answer>{keeper(number) if rewarded(session) else 'nobody'}</answer>"


def number_of(name: str) -> int:
    """Of a group or an episode: `s1-7/3` -> 7."""
    return int(name.partition("-")[2].partition("/")[0])


def rewarded(name: str) -> bool:
    rng = random.Random(name)
    return rng.random() < (1 + number_of(name) % 3) / 4


def word(number: int) -> str:
    return f"w{number % CARDS}"


def keeper(number: int) -> str:
    return f"keeper{number % CARDS}"


@dataclass(frozen=True)
class Questions:
    """One for each group, in order."""

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        numbers = range(GROUPS if n is None else n)
        return [
            Task(str(i), f"Who keeps card {word(i)}?", keeper(i), {"gold_doc_ids": [f"c{i % CARDS}"]})
            for i in numbers
        ]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    file = tmp_path / "corpus.jsonl"
    rows = (
        {"id": f"c{i}", "title": f"Card {word(i)}", "text": f"It is kept by {keeper(i)}."} for i in range(CARDS)
    )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
async def server(corpus: Path, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    words = ("retriever=bm25s", f"retriever.corpus={corpus}", f"retriever.index={tmp_path / 'served'}")
    async with ServerProcess(*words) as running:
        yield running


def search_env(url: str, **http: Any) -> EnvConfig:
    """Each search is a request of its own, so that none shares another's fate."""
    retriever = {"name": "http", "url": url, "max_batch": 1, **http}
    config: EnvConfig = build("env", {"name": "search", "retriever": retriever, "k": 1})
    return config


async def learn(
    env: EnvConfig, policy: Script, size: int = GROUPS, **guard: Any
) -> tuple[list[Group], list[Scored]]:
    """What is played in a step of `size` groups, and what is learned from."""
    async with Services() as services:
        guards = Guard(**{"max_error_frac": 1.0, "retries": 0, "concurrency": 32, **guard})
        manager = Manager(env, policy, Chat(nano.tokenizer()), services, Limits(10**6), guards)
        credit: list[Any] = [{"name": "weighted_sum", "weights": {"return": 1.0}}, "group_relative"]
        stage = Stage("rl", signals=["env_return"], credit=credit, losses=["ppo_clip"])
        plays = Plays(stage, Settings(batch_size=size, group_size=SIZE), manager, Questions())
        groups = await plays.groups(0, 0)
        return groups, await plays.score(groups)


def check_signal(groups: list[Group], batch: list[Scored]) -> float:
    """Who finished got what was earned, and nobody else anything; the share that finished."""
    leaves = [(group, leaf) for group in groups for leaf in group.leaves()]
    assert len(leaves) == len(groups) * SIZE
    learned = {(scored.group.id, scored.leaf) for scored in batch}
    for group, leaf in leaves:
        outcome, turn = group.outcome(leaf), group.turns[leaf]
        assert ((group.id, leaf) in learned) == (outcome is Outcome.DONE) == (not outcome.is_failure)
        if outcome is Outcome.DONE:
            assert turn.signals["return"] == turn.reward == float(turn.info["answer"] == group.task.answer)
        else:
            assert (turn.signals, turn.reward) == ({}, 0.0)
            assert turn.info["error"]
    for members in by_group(batch):
        check_advantages(members)
    return len(learned) / len(leaves)


def check_advantages(members: list[Scored]) -> None:
    """GRPO's, of those that are there."""
    rewards = [float(scored.turns[-1].info["success"]) for scored in members]
    spread = stdev(rewards) if len(rewards) > 1 else 0.0
    expected = [(reward - fmean(rewards)) / spread if spread else 0.0 for reward in rewards]
    assert [scored.advantage for scored in members] == pytest.approx(expected, abs=1e-4)


def shown(group: Group, leaf: int) -> str:
    """All that the episode saw."""
    return "".join(group.turns[i].observation for i in group.path(leaf))


async def test_a_server_killed_and_restarted_in_mid_run_costs_no_episode(server: ServerProcess) -> None:
    policy = Searcher(searches=3)
    learning = asyncio.create_task(learn(search_env(server.url), policy, HALF))
    for share in (0.2, 0.6):
        await spoken(policy, share)
        await server.kill()
        await server.start()
        assert not learning.done()
    groups, batch = await learning
    assert check_signal(groups, batch) == 1.0
    assert all(group.turns[leaf].info["recall"] == 1.0 for group in groups for leaf in group.leaves())


async def test_a_server_that_stays_away_fails_the_episodes_that_still_need_it(server: ServerProcess) -> None:
    policy = Searcher(searches=3)
    learning = asyncio.create_task(learn(search_env(server.url, patience=2.0), policy, HALF))
    await spoken(policy, 0.4)
    await server.kill()
    groups, batch = await learning
    assert 0.1 < check_signal(groups, batch) < 0.9
    errors = {group.turns[leaf].info.get("error") for group in groups for leaf in group.leaves()} - {None}
    assert all(f"the search server {server.url}" in error for error in errors)


async def spoken(policy: Searcher, share: float) -> None:
    """Returns when the policy has had this share of the turns of HALF's groups."""
    await until(lambda: policy.spoken >= share * HALF * SIZE * (policy.searches + 1))


async def test_through_a_faulty_proxy_every_episode_is_right_or_fails(server: ServerProcess) -> None:
    """What is slow, or broken on the way, is asked for again; what is malformed fails."""
    faults = (SLOWLY, EMPTY, "truncate", "garbage", "shape", "500", "503")
    policy = Searcher(searches=2)
    async with FaultyProxy(server.url, now_and_then(0.05, 3, faults)) as proxy:
        groups, batch = await learn(search_env(proxy.url), policy)
    assert all(proxy.done[fault] for fault in faults), proxy.done
    done = check_signal(groups, batch)
    assert done == pytest.approx(0.85**2, abs=0.08)  # three faults of 5 % each are for good
    missed = [(group, leaf) for group in groups for leaf in group.leaves() if NOTHING in shown(group, leaf)]
    assert missed
    for group, leaf in missed:
        assert group.outcome(leaf) is Outcome.DONE or "answered" in group.turns[leaf].info["error"]


async def test_failures_do_not_change_what_the_others_teach(server: ServerProcess) -> None:
    """A fifth of the episodes fail: the mean reward and the advantages are those of a run without failures."""
    whole = await learn(search_env(server.url), Searcher())
    async with FaultyProxy(server.url, now_and_then(0.2, 5, ("garbage",))) as proxy:
        harmed = await learn(search_env(proxy.url), Searcher())
    assert check_signal(*whole) == 1.0
    assert check_signal(*harmed) == pytest.approx(0.8, abs=0.06)
    compare(*([scored.reward for scored in batch] for _, batch in (whole, harmed)))
    for right in (1.0, 0.0):
        compare(*([s.advantage for s in batch if s.reward == right] for _, batch in (whole, harmed)))


def compare(whole: list[float], harmed: list[float]) -> None:
    """The means differ by less than three standard errors of what a sample of this size can tell."""
    error = stdev(whole) * (1 / len(harmed) + 1 / len(whole)) ** 0.5
    assert fmean(harmed) == pytest.approx(fmean(whole), abs=3 * error)


async def test_a_second_try_brings_most_failed_episodes_back(server: ServerProcess) -> None:
    async with FaultyProxy(server.url, now_and_then(0.2, 7, ("garbage",))) as proxy:
        groups, batch = await learn(search_env(proxy.url), Searcher(), retries=1)
    assert check_signal(groups, batch) == pytest.approx(0.96, abs=0.03)


BROKEN = {
    "not JSON": b'{"id": "x", "text": "card',
    "a NUL byte": b'{"id": "y", "text": "card w1 \0"}',
    "an id that came before": b'{"id": "c1", "text": "card w1 is kept by somebody else"}',
}


@pytest.fixture
def broken(corpus: Path) -> Path:
    """The corpus with rows in it that are none, and with a long document about every card."""
    words = " ".join(f"card {word(i)}" for i in range(CARDS))
    long = json.dumps({"id": "long", "title": "All cards", "text": words * (2**20 // len(words) + 1)}).encode()
    lines = corpus.read_bytes().splitlines()
    corpus.write_bytes(b"\n".join([*lines[:50], *BROKEN.values(), long, *lines[50:]]))
    return corpus


async def test_a_broken_corpus_costs_its_broken_rows_only(
    broken: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    env = build("env", {"name": "search", "retriever": {"corpus": str(broken), "index": str(tmp_path / "own")}})
    with caplog.at_level("WARNING"):
        groups, batch = await learn(env, Searcher(), size=4)
    assert check_signal(groups, batch) == 1.0
    for number, reason in enumerate(BROKEN, 51):
        [told] = [message for message in caplog.messages if reason in message]
        assert f"1 rows left out: {reason}: {broken}:{number}: " in told
    seen = [shown(group, leaf) for group in groups for leaf in group.leaves()]
    assert all("somebody else" not in text for text in seen)
    assert any("All cards" in text for text in seen)
    assert max(map(len, seen)) < 10_000, "a policy sees observation_tokens of it, whatever is found"


@pytest.mark.parametrize(
    ("retriever", "message"),
    [
        ({"strict": "true"}, r"corpus .*corpus.jsonl:51: not JSON"),
        ({"corpus": "nowhere.jsonl"}, r"corpus nowhere.jsonl: no such file"),
        ({"corpus": "empty.jsonl"}, r"corpus .*empty.jsonl: no passages in it"),
    ],
)
async def test_a_corpus_that_cannot_be_searched_ends_the_run_and_says_why(
    broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retriever: dict[str, str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    broken.with_name("empty.jsonl").touch()
    table = {"corpus": str(broken), "index": str(tmp_path / "own"), **retriever}
    with pytest.raises(ExceptionGroup) as caught:
        await learn(build("env", {"name": "search", "retriever": table}), Searcher())
    assert caught.group_contains(TaskError, match=message)
