"""REX-RAG, by hand, and by listing all that can happen."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
import torch

from agentgym.config import build
from agentgym.rollout.manager import Guard, Manager
from agentgym.rollout.rex_rag import RexRag
from agentgym.rollout.walk import Limits
from agentgym.services import Services
from agentgym.trainers.base import Scored
from agentgym.trainers.credit.mixture_correction import MixtureCorrection
from agentgym.types import Group, Outcome, Task, Tokens, Turn

from .tabular import LIMIT, Letters, Policy, Quiz, Tabular, ids_of, is_wrong, probes, reward, text_of

DOUBTS = ("b", "ba")  # one begins like the other, and the policy says both by itself


def mark(logprob, tokens=1, rate=0.02, reach=0.5, inserted=False):
    return {"logprob": logprob, "tokens": tokens, "rate": rate, "reach": reach, "inserted": inserted}


async def test_rewards_and_advantages(stage, episode):
    # A probe: the policy says this doubt in 1 of 100 cases; 0.02 * 0.5 / 0.01 = 1 probe for each: weight 1 / 2.
    # One of its own that doubts, in 1 of 50 cases, and answers wrongly there in 1 of 4: 0.02 * 0.25 / 0.02 =
    # 1/4: 4 / 5. Twenty more do not doubt. Rewards 1, 0 and three 1s: the mean is (0.5 + 3) / (0.5 + 0.8 + 20) =
    # 3.5 / 21.3.
    probe = episode(success=True, infos=[{"doubts": [mark(math.log(0.01), inserted=True)]}])
    doubts = episode(infos=[{"doubts": [mark(math.log(0.02), reach=0.25)]}])
    plain = [episode(success=number < 3) for number in range(20)]
    batch = await stage("rex_rag", "rl").score([probe, doubts, *plain])
    assert [s.weight for s in batch] == pytest.approx([1 / 2, 4 / 5, *[1] * 20])
    mean, total, squares = 3.5 / 21.3, 21.3, 0.25 + 0.64 + 20
    variance = (3.5 - total * mean**2) / (total - squares / total)
    assert batch[0].advantage == pytest.approx((1 - mean) / math.sqrt(variance), rel=1e-5)


async def test_the_likeliest_doubts_are_kept_up_to_the_cap(stage, episode):
    # Of 25 trajectories, 8 in 100 are 2 probes: those with -1 and -2 a token. Below -2 there are no probes any
    # more, so that the policy's own doubt at -2.5 is not discounted; that at -1.5 is.
    rate = {"rate": 0.02, "reach": 1.0}
    given = [
        mark(-4.0, 2, **rate, inserted=True),
        mark(-1.0, **rate, inserted=True),
        mark(-3.0, **rate, inserted=True),
    ]
    own = [mark(-2.5, **rate), mark(-1.5, **rate)]
    doubting = [episode(infos=[{"doubts": [m]}]) for m in (*given, *own)]
    batch = await stage("rex_rag", "rl").score([*doubting, *[episode() for _ in range(23)]])
    weights = [
        1 / (1 + 0.02 * math.exp(4)),
        1 / (1 + 0.02 * math.exp(1)),
        0.0,
        1.0,
        1 / (1 + 0.02 * math.exp(1.5)),
    ]
    assert [s.weight for s in batch] == pytest.approx([*weights, *[1.0] * 23])


def test_loss(stage):
    # As Search-R1: A = 1: ratio 1.5 is cut at 1.2, 1 stays; A = -1: 4 has no bound: (-2.2 + 4) / 3. KL: d = ln 2.
    value = stage("rex_rag", "rl").loss([1, -1], [[1.5, 1.0], [4.0]], [[math.log(2), 0.0], [0.0]])
    assert value == pytest.approx(1.8 / 3 + 0.001 * (math.log(2) - 0.5) / 3)


def test_settings_are_the_papers(read_recipe):
    recipe = read_recipe("rex_rag")
    rollout = build("rollout", recipe["stages"][0]["rollout"])
    assert (recipe["group_size"], rollout.probability, recipe["stages"][0]["credit"][0]["cap"]) == (5, 0.2, 0.08)


def listed_marks(policy, end, probability, inserted=None):
    """By the definition: places where the policy could have answered wrongly, and a doubt stands."""
    for at, doubt in itertools.product(range(len(end)), DOUBTS):
        if end.startswith(doubt, at) and at + len(doubt) < len(end):
            wrong = [e for e in policy.ends if is_wrong(e) and e[: e.index("A")] == end[:at]]
            reach = math.fsum(math.exp(policy.logprob(e, end[:at])) for e in wrong)
            logprob = policy.logprob(end[: at + len(doubt)], end[:at])
            yield mark(logprob, len(doubt), probability / len(DOUBTS), reach, (at, doubt) == inserted)


def weight(policy, end, probability):
    turn = Turn(None, Tokens(()), Tokens(ids_of(end)), outcome=Outcome.DONE)
    turn.info["doubts"] = list(listed_marks(policy, end, probability))
    [scored] = MixtureCorrection(cap=1.0)([Scored(Group("g", Task("t", "p", "a"), [turn]), 0)])
    return scored.weight


def expectation(policy, probability, weigh):
    """Of the sum of weight * reward * gradient of log-probability over what is played, for a trajectory of the
    policy's own; and of how many are played."""
    own = [(end, math.exp(policy.logprob(end))) for end in policy.ends]
    played = [*own, *probes(policy, DOUBTS, probability)]
    total = torch.zeros_like(policy.theta)
    for end, chance in played:
        if reward(end):
            total += chance * weigh(end) * reward(end) * policy.score_gradient(end)
    return total.detach(), math.fsum(chance for _, chance in played)


@pytest.mark.parametrize("probability", [0.2, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_corrected_gradient_is_the_true_one_and_the_uncorrected_is_not(seed, probability):
    policy = Policy(seed)
    assert math.fsum(math.exp(policy.logprob(end)) for end in policy.ends) == pytest.approx(1.0, abs=1e-12)
    truth = policy.true_gradient()
    corrected, _ = expectation(policy, probability, lambda end: weight(policy, end, probability))
    assert float((corrected - truth).abs().max()) < 1e-10
    uncorrected, played = expectation(policy, probability, lambda end: 1.0)
    bias = float((uncorrected / played - truth).norm() / truth.norm())
    assert bias > 0.05  # 0.13 and 0.45 for the first policy, 0.07 and 0.29 for the second


@pytest.mark.parametrize("probability", [0.2, 1.0])
def test_what_is_played_counts_as_often_as_the_policy_would_play(probability):
    policy = Policy(0)
    played, chances = Counter(), {end: math.exp(policy.logprob(end)) for end in policy.ends}
    for end, chance in [*chances.items(), *probes(policy, DOUBTS, probability)]:
        played[end] += chance * weight(policy, end, probability)
    assert {end: pytest.approx(chance, abs=1e-12) for end, chance in chances.items()} == played


async def play(policy, groups, size, probability=1.0, seed=0):
    async with Services() as services:
        strategy = RexRag(probability, before="A", doubts=DOUBTS)
        manager = Manager(Quiz(), Tabular(policy), Letters(), services, Limits(LIMIT), Guard())
        tasks = [(f"s{i}", Task("t", "P", "")) for i in range(groups)]
        return await manager.run(strategy, tasks, seed, size)


def said(group, leaf):
    return "".join(text_of(group.turns[i].action.ids) for i in group.path(leaf))


def is_probe(group, leaf):
    return any(group.turns[i].source == "aided" for i in group.path(leaf))


async def test_the_facts_that_the_rollout_leaves_are_those_of_the_list():
    policy = Policy(0)
    [group] = await play(policy, 1, 400, probability=0.5)
    found = 0
    for leaf in group.leaves():
        end = said(group, leaf)
        left = [m for i in group.path(leaf) for m in group.turns[i].info.get("doubts", ())]
        inserted = [m for m in left if m["inserted"]]
        assert len(inserted) == is_probe(group, leaf)
        wanted = list(listed_marks(policy, end, 0.5))
        approx = [pytest.approx({**m, "inserted": w["inserted"]}) for m, w in zip(left, wanted, strict=True)]
        assert wanted == approx
        found += len(left)
        for i in group.path(leaf):
            action = group.turns[i].action
            assert action.logprobs is not None
            assert len(action.logprobs) == len(action.entropy) == len(action.ids)
        total = math.fsum(x for i in group.path(leaf) for x in group.turns[i].action.logprobs)
        assert total == pytest.approx(policy.logprob(end))
    assert found > 50


async def test_probes_are_played_as_often_as_listed():
    policy, size = Policy(0), 800
    [group] = await play(policy, 1, size, probability=0.5)
    found = Counter(said(group, leaf) for leaf in group.leaves() if is_probe(group, leaf))
    wanted = Counter()
    for end, chance in probes(policy, DOUBTS, 0.5):
        wanted[end] += size * chance
    cells = [(found[end], count) for end, count in wanted.items() if count > 3]
    rest = (found.total() - sum(n for n, _ in cells), wanted.total() - sum(n for _, n in cells))
    surprise = sum((seen - count) ** 2 / count for seen, count in [*cells, rest])
    freedom = len(cells) + 1
    assert freedom > 8
    assert surprise < freedom + 4 * math.sqrt(2 * freedom)


async def test_the_rollouts_gradient_is_the_true_one_within_its_error():
    policy = Policy(0)
    groups = await play(policy, 10, 300)
    batch = [Scored(group, leaf) for group in groups for leaf in group.leaves()]
    MixtureCorrection(cap=1.0)(batch)
    gradients = {end: reward(end) * policy.score_gradient(end).detach() for end in policy.ends}
    own = [(end, math.exp(policy.logprob(end))) for end in policy.ends]
    squares = sum(chance * gradients[end] ** 2 for end, chance in [*own, *probes(policy, DOUBTS, 1.0)])

    def surprise(weights, count):
        """How many standard errors the farthest coordinate is off, of those that count."""
        seen = sum(w * gradients[said(s.group, s.leaf)] for s, w in zip(batch, weights, strict=True))
        error, counts = (squares / count).sqrt(), squares > 0.01 * squares.max()
        return float((((seen / count) - policy.true_gradient()).abs() / error)[counts].max())

    assert surprise([s.weight for s in batch], sum(not is_probe(s.group, s.leaf) for s in batch)) < 4
    assert surprise([1.0] * len(batch), len(batch)) > 8
