"""What every engine promises, held against a plain forward pass of the model that it samples from."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import Any

from agentgym.checks.harness import Broken, CheckResult, Skipped, expect, run_checks
from agentgym.checks.leftovers import descendants
from agentgym.engine import Engine, Sample, Sampling
from agentgym.engines.agreement import TOLERANCE, dtype_of, plain_logprobs
from agentgym.engines.prompts import eos_ids
from agentgym.engines.starting import start_engine
from agentgym.engines.stop import token_bytes

PROMPT = 300
"""Tokens of the prompts that are shared: engines share whole blocks of up to 128."""


@dataclass(slots=True)
class Bench:
    """A model, and an engine that samples from it."""

    model: Any
    engine: Engine
    pieces: list[bytes]
    eos: frozenset[int]

    @property
    def tolerance(self) -> float:
        """In nats."""
        return TOLERANCE[dtype_of(self.model)]

    def needs(self, what: str) -> None:
        """Raise Skipped where the engine says that it cannot be held to this."""
        if reason := getattr(self.engine, "unable", {}).get(what):
            raise Skipped(reason)

    def prompt(self, seed: int, length: int = 40) -> list[int]:
        """Ids at random, none of which ends a turn."""
        known = [i for i, piece in enumerate(self.pieces) if piece and i not in self.eos]
        return random.Random(seed).choices(known, k=min(length, self.engine.max_len // 2))

    def difference(self, prompt: Sequence[int], sample: Sample, start: int = 0) -> float:
        """The largest between the sample's logprobs, from token `start` on, and the model's."""
        ids = [*prompt, *sample.tokens.ids]
        expect(sample.tokens.logprobs is not None, "samples come without logprobs: nobody can learn from them")
        own = plain_logprobs(self.model, ids)[len(prompt) - 1 :]
        told = sample.tokens.logprobs or ()
        pairs = list(zip(sample.tokens.ids, told, own, strict=True))[start:]
        return max((abs(told - float(row[token])) for token, told, row in pairs), default=0.0)


async def check_engine(config: Any, model: Any, tokenizer: Any, deadline: float = 120.0) -> list[CheckResult]:
    """Every check on the engine that `config` starts for `model`, whose weights are changed on the way and put
    back. deadline: seconds each."""
    before = descendants()
    engine = await start_engine(config, model, tokenizer)
    try:
        bench = Bench(model, engine, token_bytes(tokenizer, engine.vocab_size), eos_ids(model, tokenizer))
        results = await run_checks(bench, CHECKS, deadline)
    finally:
        await engine.close()
    return results + await run_checks(before, [nothing_left_behind], deadline)


async def ids_come_back_as_sampled(bench: Bench) -> str:
    prompt = bench.prompt(0)
    sample = await bench.engine.sample(prompt, Sampling(max_tokens=64, seed=0))
    ids = sample.tokens.ids
    shown = ids[:-1] if sample.finish == "eos" else ids
    text = b"".join(bench.pieces[i] for i in shown).decode(errors="replace")
    expect(sample.text == text, f"the text {sample.text!r} is not that of the ids, {text!r}")
    scored = await bench.engine.score([*prompt, *ids])
    expect(scored.ids == (*prompt, *ids), "ids that are scored come back as others")
    return f"{len(ids)} ids sampled, their text, and the same ids scored"


async def logprobs_are_the_models(bench: Bench) -> str:
    worst, count = 0.0, 0
    prompts = [bench.prompt(seed) for seed in range(8)]
    drawn = [bench.engine.sample(p, Sampling(max_tokens=48, seed=i)) for i, p in enumerate(prompts)]
    for prompt, sample in zip(prompts, await asyncio.gather(*drawn), strict=True):
        worst = max(worst, bench.difference(prompt, sample))
        count += len(sample.tokens)
    expect(worst <= bench.tolerance, f"a logprob differs by {worst:.2g} nats from the model's own")
    ids = [*prompts[0], *bench.prompt(9)]
    own, scored = plain_logprobs(bench.model, ids), await bench.engine.score(ids)
    told = (scored.logprobs or ())[1:]
    missed = max(abs(value - float(row[token])) for value, row, token in zip(told, own, ids[1:], strict=True))
    expect(missed <= bench.tolerance, f"a score differs by {missed:.2g} nats from the model's own logprob")
    return f"within {worst:.1g} nats over {count} sampled tokens, {missed:.1g} over {len(told)} scored"


async def logprobs_are_those_at_temperature_1(bench: Bench) -> str:
    prompt = bench.prompt(1)
    for other in ({"temperature": 0.5}, {"temperature": 0.0}, {"top_p": 0.5}, {"top_k": 3}):
        sampling = Sampling(max_tokens=32, seed=1, **other)
        difference = bench.difference(prompt, await bench.engine.sample(prompt, sampling))
        expect(difference <= bench.tolerance, f"they differ by {difference:.2g} nats under {sampling}")
    return "also with another temperature, top_p and top_k"


async def entropies_are_never_above_the_models(bench: Bench) -> str:
    bench.needs("entropies")
    prompt = bench.prompt(2)
    sample = await bench.engine.sample(prompt, Sampling(max_tokens=48, seed=2))
    rows = plain_logprobs(bench.model, [*prompt, *sample.tokens.ids])[len(prompt) - 1 :]
    own = (-(rows.exp() * rows).sum(-1)).tolist()
    told = sample.tokens.entropy
    if told is None:
        raise Broken("samples come without entropies: rollouts cannot branch by them")
    gaps = [ours - theirs for ours, theirs in zip(own, told, strict=True)]
    expect(min(gaps) >= -bench.tolerance, f"an entropy is {-min(gaps):.2g} nats above the model's own")
    return f"0 to {max(max(gaps), 0.0):.2g} nats below, of {sum(own) / len(own):.2g}"


async def draws_follow_the_model(bench: Bench) -> str:
    prompt, count = bench.prompt(3), 400
    drawn = [bench.engine.sample(prompt, Sampling(max_tokens=1)) for _ in range(count)]
    seen = Counter(sample.tokens.ids[0] for sample in await asyncio.gather(*drawn))
    own = plain_logprobs(bench.model, [*prompt, 0])[-1].exp()
    likeliest = own.topk(min(8, len(own))).indices.tolist()
    for token in likeliest:
        share, wanted = seen[token] / count, float(own[token])
        spread = (wanted * (1 - wanted) / count) ** 0.5
        expect(
            abs(share - wanted) <= 5 * spread + 1 / count,
            f"token {token} has probability {wanted:.3f} and came {seen[token]} times of {count}",
        )
    return f"{count} draws from one prompt, {len(seen)} different"


async def a_seed_decides_the_sample(bench: Bench) -> str:
    prompt = bench.prompt(4)
    draw = [bench.engine.sample(prompt, Sampling(max_tokens=32, seed=seed)) for seed in (7, 7, 8, -(2**62))]
    one, again, *others = [sample.tokens.ids for sample in await asyncio.gather(*draw)]
    expect(one == again, "the same seed gave two samples")
    expect(one not in others, "different seeds gave the same sample")
    return "and another seed gives another"


async def stop_texts_end_a_sample_and_stay_in_it(bench: Bench) -> str:
    prompt = bench.prompt(5)
    whole = await bench.engine.sample(prompt, Sampling(max_tokens=48, seed=5))
    texts = [bench.pieces[i] for i in whole.tokens.ids]
    place = next((i for i in range(8, len(texts) - 1) if _is_word(texts[i]) and texts[i] not in texts[:i]), None)
    if place is None:
        raise Broken("48 tokens without a word among them: nothing to stop at")
    stop = texts[place].decode()
    sample = await bench.engine.sample(prompt, Sampling(max_tokens=48, seed=5, stop=(stop, "never said")))
    first = next(n for n in range(1, len(texts) + 1) if stop.encode() in b"".join(texts[:n]))
    expect(sample.finish == "stop", f"{stop!r} was said, and the sample ended by {sample.finish}")
    expect(sample.tokens.ids == whole.tokens.ids[:first], f"it did not end with the token that completes {stop!r}")
    begun = bench.engine.sample(
        [*prompt, *whole.tokens.ids[: first - 1]], Sampling(max_tokens=1, temperature=0.0, stop=(stop,), begun=1)
    )
    expect((await begun).finish in ("stop", "length", "eos"), "a prompt with the beginning of a stop text failed")
    short = await bench.engine.sample(prompt, Sampling(max_tokens=3, seed=5))
    expect((len(short.tokens), short.finish) == (3, "length"), f"max_tokens=3 gave {len(short.tokens)} tokens")
    return f"at {stop!r}, after {first} tokens of {len(texts)}"


def _is_word(piece: bytes) -> bool:
    try:
        return piece.decode().strip().isalnum()
    except UnicodeDecodeError:
        return False


async def forks_go_on_from_a_shared_prefix(bench: Bench) -> str:
    engine, prompt = bench.engine, bench.prompt(6, PROMPT)
    reused = engine.reused
    first = await engine.sample(prompt, Sampling(max_tokens=16, seed=6), session="check")
    ids = [*prompt, *first.tokens.ids, *bench.prompt(7, 8)]
    twins = [
        engine.sample(ids, Sampling(max_tokens=16, seed=seed), session=f"check+{seed}", parent="check")
        for seed in range(8)
    ]
    samples = await asyncio.gather(*twins)
    for name in ("check", *(f"check+{seed}" for seed in range(8))):
        engine.release(name)
    expect(len({sample.tokens.ids for sample in samples}) > 1, "8 forks all said the same")
    worst = max(bench.difference(ids, sample) for sample in samples)
    expect(worst <= bench.tolerance, f"a fork's logprob differs by {worst:.2g} nats from the model's own")
    bench.needs("reuse")
    found = (engine.reused - reused) / len(twins) / len(ids)
    expect(found >= 0.5, f"8 forks after {len(ids)} tokens found {found:.0%} of them in the cache")
    return f"8 forks after {len(ids)} tokens, {found:.0%} of which were found in the cache"


async def many_at_a_time(bench: Bench) -> str:
    prompts = [bench.prompt(seed, 8 + seed) for seed in range(64)]
    drawn = [bench.engine.sample(p, Sampling(max_tokens=24, seed=i)) for i, p in enumerate(prompts)]
    samples = await asyncio.gather(*drawn)
    worst = max(bench.difference(p, sample) for p, sample in zip(prompts, samples, strict=True))
    expect(worst <= bench.tolerance, f"a logprob differs by {worst:.2g} nats from the model's own")
    return f"{len(prompts)} samples, within {worst:.1g} nats"


async def who_gives_up_disturbs_nobody(bench: Bench) -> str:
    prompt = bench.prompt(8)
    long = min(2000, bench.engine.max_len - len(prompt))
    given_up = [asyncio.ensure_future(bench.engine.sample(prompt, Sampling(max_tokens=long))) for _ in range(16)]
    stayed = asyncio.ensure_future(bench.engine.sample(prompt, Sampling(max_tokens=32, seed=1)))
    await bench.engine.sample(prompt, Sampling(max_tokens=4))
    for task in given_up:
        task.cancel()
    await asyncio.gather(*given_up, return_exceptions=True)
    difference = bench.difference(prompt, await stayed)
    expect(difference <= bench.tolerance, f"another's logprob differs by {difference:.2g} nats after that")
    return f"16 samples of up to {long} tokens were cancelled"


async def new_weights_are_used_at_once(bench: Bench) -> str:
    """Also in the middle of a sample: each token says which weights it is from."""
    bench.needs("weights")
    import torch

    prompt, engine, model = bench.prompt(10), bench.engine, bench.model
    version = engine.version
    kept = {name: weight.detach().clone() for name, weight in model.state_dict().items()}
    running = asyncio.ensure_future(
        engine.sample(prompt, Sampling(max_tokens=min(400, engine.max_len - len(prompt)), seed=3))
    )
    await engine.sample(prompt, Sampling(max_tokens=8))
    try:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in model.parameters():
                noise = torch.randn(weight.shape, generator=generator).to(weight)
                weight.add_(0.1 * weight.std() * noise if weight.numel() > 1 else 0)
        await engine.load(model, version + 1)
        crossed = await running
        fresh = await engine.sample(prompt, Sampling(max_tokens=32, seed=3))
        versions = crossed.tokens.versions or ()
        old = versions.count(version)
        late, new = bench.difference(prompt, crossed, old), bench.difference(prompt, fresh)
    finally:
        with torch.no_grad():
            model.load_state_dict(kept)
        await engine.load(model, version + 2)
    expect(fresh.tokens.versions == (version + 1,) * len(fresh.tokens), "tokens do not say the new version")
    expect(versions == (version,) * old + (version + 1,) * (len(versions) - old), "versions of a sample go back")
    expect(new <= bench.tolerance, f"a new sample's logprob is {new:.2g} nats from the new model's")
    expect(late <= bench.tolerance, f"after the exchange a logprob is {late:.2g} nats from the new model's")
    back = bench.difference(prompt, await engine.sample(prompt, Sampling(max_tokens=32, seed=3)))
    expect(back <= bench.tolerance, f"with the old weights again a logprob is {back:.2g} nats from the model's")
    return f"a sample under way has {old} tokens of the old and {len(versions) - old} of the new weights"


async def nothing_left_behind(before: dict[int, str]) -> str:
    tracker = getattr(resource_tracker._resource_tracker, "_pid", None)  # Python's own, which ends with us
    for pause in itertools.accumulate([0.05] * 40):
        left = [f"{pid} ({name})" for pid, name in descendants().items() if pid not in {*before, tracker}]
        if not left:
            return "no process"
        await asyncio.sleep(pause)
    raise Broken(f"left behind after close: process {', '.join(left)}")


CHECKS = (
    ids_come_back_as_sampled,
    logprobs_are_the_models,
    logprobs_are_those_at_temperature_1,
    entropies_are_never_above_the_models,
    draws_follow_the_model,
    a_seed_decides_the_sample,
    stop_texts_end_a_sample_and_stay_in_it,
    forks_go_on_from_a_shared_prefix,
    many_at_a_time,
    who_gives_up_disturbs_nobody,
    new_weights_are_used_at_once,
)
