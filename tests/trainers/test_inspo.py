"""INSPO's sampler on tasks whose instructions have known effects."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from statistics import fmean
from typing import Any

import pytest

from agentgym.config import build
from agentgym.engine import Sample
from agentgym.errors import ConfigError
from agentgym.rollout.manager import Guard, Manager
from agentgym.services import Services
from agentgym.trainers.base import Scored
from agentgym.trainers.coevolution import InspoSampler, instruct
from agentgym.trainers.plays import Plays
from agentgym.trainers.settings import Settings, Stage
from agentgym.types import Group, Outcome, Task, Tokens, Turn

from ..llms.server import Server, error, running  # noqa: TID252

EFFECTS = {"useful": 0.3, "plain": 0.0, "neutral": 0.0, "harmful": -0.3}
"""On the rate of success; questions differ by more than that."""


class Questions:
    """Some hard, some easy."""

    def draw(self, n: int | None, rng: random.Random, split: str = "train") -> list[Task]:
        return [Task(f"t{rng.random()}", "q", "a", {"rate": rng.choice([0.3, 0.5, 0.7])}) for _ in range(n or 0)]


def sampler(
    seed: int = 0, llm: Any = None, texts: tuple[str, ...] = tuple(EFFECTS), **fields: Any
) -> InspoSampler:
    table = {"name": "inspo", "instructions": list(texts), "population": 4, "trial": 8, **fields}
    live: InspoSampler = build("sampler", {**table, "llm": llm} if llm else table).start(Questions(), seed)
    return live


def play(tasks: list[Task], rng: random.Random, effects: dict[str, float], size: int = 8) -> list[list[Scored]]:
    """Groups whose episodes succeed as often as question and instruction make it likely."""
    groups = []
    for number, task in enumerate(tasks):
        group = Group(str(number), task)
        assert isinstance(task.prompt, str)
        rate = task.info["rate"] + effects.get(task.prompt.removesuffix("\n\nq"), 0.0)
        for _ in range(size):
            said = Turn(None, Tokens((0,)), Tokens((1,)), text="tried", observation=task.prompt)
            said.outcome = Outcome.DONE
            group.turns.append(said)
        groups.append([Scored(group, leaf, reward=float(rng.random() < rate)) for leaf in group.leaves()])
    return groups


async def train(
    live: InspoSampler,
    steps: int,
    seed: int,
    effects: dict[str, float] | None = None,
    services: Services | None = None,
    spoil: Callable[[list[list[Scored]], random.Random], None] = lambda groups, rng: None,
) -> None:
    for step in range(steps):
        rng = random.Random(f"{seed} {step} {len(live.population.members)}")
        groups = play(live.propose(16), rng, EFFECTS if effects is None else effects)
        spoil(groups, rng)
        await live.observe([scored for group in groups for scored in group], services or Services())


def chances(live: InspoSampler) -> dict[str, float]:
    members = zip(live.population.members, live.population.probabilities(), strict=True)
    return {member.text: chance for member, chance in members}


def shuffled(groups: list[list[Scored]], rng: random.Random) -> None:
    """Each group's rewards go to another."""
    rewards = [[scored.reward for scored in group] for group in groups]
    rng.shuffle(rewards)
    for group, own in zip(groups, rewards, strict=True):
        for scored, reward in zip(group, own, strict=True):
            scored.reward = reward


async def test_a_useful_instruction_is_found_with_every_seed() -> None:
    found = []
    for seed in range(10):
        live = sampler(seed, renew_every=1000)
        assert chances(live) == dict.fromkeys(EFFECTS, 0.25)
        await train(live, 40, seed)
        found.append(chances(live)["useful"])
    assert min(found) > 0.8, found


async def test_with_shuffled_credit_nothing_is_found() -> None:
    chance = []
    for seed in range(30):
        live = sampler(seed, renew_every=1000)
        await train(live, 40, seed, spoil=shuffled)
        chance.append(chances(live)["useful"])
    assert fmean(chance) == pytest.approx(0.25, abs=0.08), chance
    assert max(chance) < 0.8


async def test_the_difficulty_of_questions_is_nobodys_merit() -> None:
    """Rewards that depend on the question alone, and shift from step to step."""
    live = sampler(renew_every=1000, rate=0.05)
    for step in range(60):
        groups = play(live.propose(16), random.Random(step), {})
        for group in groups:
            for scored in group:
                scored.reward = step + group[0].group.task.info["rate"]
        await live.observe([scored for group in groups for scored in group], Services())
    assert max(abs(member.weight) for member in live.population.members) < 0.1


async def test_the_worse_half_is_pruned_but_nobody_who_is_on_trial() -> None:
    live = sampler(renew_every=10)
    live.population.add("untried")
    live.population.trial = 10**6
    await train(live, 10, 0)
    assert len(live.population.members) == 5
    live.population.trial = 8
    await train(live, 20, 0)
    left = set(chances(live))
    assert "useful" in left
    assert "harmful" not in left
    assert len(left) == 2


def proposals(*texts: str) -> str:
    return json.dumps({"reflection": "hm", "instructions": list(texts)})


def proposer(server: Server) -> dict[str, Any]:
    return {"name": "openai", "model": "m", "base_url": server.url, "api_key_env": "", "retries": 0}


async def test_what_an_llm_proposes_is_tried_and_can_win() -> None:
    better = proposals("better", " BETTER ", "useful", "harmful", "", "x" * 101)
    effects = {**EFFECTS, "better": 0.6, "<|im_end|>bad": -0.3}
    async with running(Server(script=lambda body: better)) as server, Services() as services:
        live = sampler(llm=proposer(server), renew_every=20, max_length=100, replay=6, shown=3)
        await train(live, 20, 0, effects, services)
        told = await live.metrics(services)
        new = live.population.members[-1]
        assert (new.text, new.groups) == ("better", 0)
        assert told["inspo/p_i4"] == max(p for name, p in told.items() if name.startswith("inspo/p_"))
        assert (told["inspo/proposed"], told["inspo/accepted"], told["inspo/pruned"]) == (6, 1, 2)
        await train(live, 39, 1, effects, services)
        assert chances(live)["better"] > 0.8
        assert sum(p for n, p in (await live.metrics(services)).items() if "/p_" in n) == pytest.approx(1.0)
    prompt = server.prompts()[0]
    assert prompt.count("Failure ") == 3
    assert prompt.count("\ntried\n") == 3
    assert "Write 2 new instructions" in prompt


async def test_a_renewal_that_fails_is_counted_and_tried_again() -> None:
    answers = [error(500), "nothing to say", "nothing to say", proposals("new")]
    async with running(Server(script=lambda body: answers.pop(0))) as server, Services() as services:
        live = sampler(llm=proposer(server), renew_every=5)
        await train(live, 10, 0, services=services)
        assert (await live.metrics(services))["inspo/failed_renewals"] == 2
        await train(live, 5, 1, services=services)
        assert "new" in chances(live)
    assert not answers


async def test_a_proposer_without_a_key_is_noticed_in_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY is not set"):
        await train(sampler(llm={"name": "openai", "model": "m"}), 1, 0)


async def test_resumed_is_as_uninterrupted() -> None:
    async with running(Server(script=lambda body: proposals(f"new {len(server.requests)}"))) as server:
        async with Services() as services:
            whole = sampler(llm=proposer(server), renew_every=4, shown=20)
            await train(whole, 11, 0, services=services)
            state = json.loads(json.dumps(whole.state_dict()))
            await train(whole, 5, 1, services=services)
        asked = server.prompts()
        del server.requests[2:]
        async with Services() as services:
            resumed = sampler(seed=99, llm=proposer(server), renew_every=4, shown=20)
            resumed.load_state_dict(state)
            await train(resumed, 5, 1, services=services)
    assert len(asked) == 4
    assert server.prompts() == asked, "it shows the same failures"
    assert resumed.state_dict() == whole.state_dict()
    assert resumed.propose(20) == whole.propose(20)


def test_the_instruction_stands_before_the_question() -> None:
    assert instruct("q", "") == "q"
    assert instruct("q", "think") == "think\n\nq"
    system: Any = {"role": "system", "content": "s"}
    user: Any = {"role": "user", "content": "q"}
    assert instruct([system, user, user], "think") == [system, {"role": "user", "content": "think\n\nq"}, user]
    assert system["content"] + user["content"] == "sq", "the task's own messages are not changed"
    live = sampler()
    for task in live.propose(20):
        one = next(m for m in live.population.members if m.id == task.info["instruction"])
        assert (task.prompt, task.answer) == (f"{one.text}\n\nq", "a")
        assert "rate" in task.info


def test_what_makes_no_sense_is_said() -> None:
    for fields, said in [
        ({"instructions": []}, "instructions: from 1"),
        ({"instructions": ["a", "a"]}, "different"),
        ({"instructions": ["a"], "tau": 0.0}, "tau must be above 0"),
        ({"instructions": ["a"], "llm": "lokal"}, "did you mean 'local'"),
    ]:
        with pytest.raises(ConfigError, match=said):
            build("sampler", {"name": "inspo", **fields})


async def test_instructions_reach_a_real_policy_and_are_credited_with_what_it_earned() -> None:
    """Through the manager: whoever is told "go" first writes what the environment pays for."""
    policy = Obedient()
    env = build("env", {"name": "maze", "tasks": {"name": "mazes", "corridors": 3, "halls": 0}})
    async with Services() as services:
        manager = Manager(env, policy, Letters(), services, guard=Guard(max_error_frac=0.0))
        table: Any = {"name": "inspo", "instructions": ["go", "stay"], "trial": 4}
        credit: list[Any] = [{"name": "weighted_sum", "weights": {"return": 1.0}}]
        stage = Stage("rl", signals=["env_return"], credit=credit, losses=["ppo_clip"], sampler=table)
        plays = Plays(stage, Settings(batch_size=8, group_size=2), manager, env.source())
        for step in range(4):
            groups = await plays.groups(step, step)
            for group in groups:
                prompts = {turns[0].observation.partition("\n\n")[0] for turns in group.trajectories()}
                assert prompts == {{"i0": "go", "i1": "stay"}[group.task.info["instruction"]]}
            await plays.score(groups)
        told = await plays.metrics()
    assert told["inspo/p_i0"] > 0.8
    assert told["inspo/p_i0"] + told["inspo/p_i1"] == pytest.approx(1.0)


class Letters:
    """Renders text as its characters."""

    def open(self, messages: Any) -> tuple[int, ...]:
        return tuple(map(ord, "".join(message["content"] for message in messages)))

    def extend(self, observation: Any, *, ended: bool = True) -> tuple[int, ...]:
        return tuple(map(ord, observation))

    def speak(self, text: str, *, end: bool) -> tuple[int, ...]:
        return tuple(map(ord, text))

    def decode(self, ids: Any) -> str:
        return "".join(map(chr, ids))


class Obedient:
    """An engine whose policy goes through the only door when it is told to go, and else stays."""

    version, max_len, vocab_size, reused, shares_weights = 0, 10**6, 0x110000, 0, True

    async def sample(self, ids: Any, sampling: Any, *, session: Any = None, parent: Any = None) -> Sample:
        told = "".join(map(chr, ids))
        door = told.rpartition("Doors: ")[2].partition(".")[0]
        text = f"<go>{door}</go>" if told.startswith("go\n\n") else "No."
        letters = tuple(map(ord, text))
        zeros = (0.0,) * len(letters)
        return Sample(Tokens(letters, zeros, zeros, (0,) * len(letters)), text, "eos")

    async def score(self, ids: Any) -> Tokens:
        raise NotImplementedError

    def release(self, session: str) -> None:
        """Nothing is kept."""

    async def load(self, weights: Any, version: int) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing is held."""
