"""Where a sample ends, and what goes wrong on the way."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import BloomConfig

from agentgym.engine import Sampling
from agentgym.engines.prompts import longest
from agentgym.engines.scheduler import TorchEngine
from agentgym.engines.torch import Torch
from agentgym.errors import ConfigError, EngineError

Build = Callable[..., Any]
GREEDY = Sampling(max_tokens=50, temperature=0)
START = 399  # no token of the tokenizer's


def start(model: Any, tokenizer: Any, **config: Any) -> TorchEngine:
    return Torch(device="cpu", dtype="float32", **config).start(model, tokenizer)


async def decoding(engine: TorchEngine, tokens: int) -> None:
    """Let the engine step until it has decoded that many."""
    while engine.decoded < tokens:  # noqa: ASYNC110
        await asyncio.sleep(0)


@torch.no_grad()
def parrot(build: Build, script: list[int]) -> Any:
    """A model that follows each token of `script` by the next one: attention and MLP add nothing, embeddings
    are one-hot, and the head maps a token to its successor."""
    assert len(set(script)) == len(script)
    model = build("Qwen2", hidden_size=400, num_hidden_layers=1)
    model.model.layers[0].self_attn.o_proj.weight.zero_()
    model.model.layers[0].mlp.down_proj.weight.zero_()
    model.model.embed_tokens.weight.copy_(torch.eye(400))
    model.model.norm.weight.fill_(1.0)
    model.lm_head.weight.zero_()
    model.lm_head.weight[script[1:], script[:-1]] = 10.0
    return model


def bytes_of(tokenizer: Any, text: str) -> list[int]:
    """The ids of the text's single bytes."""
    byte_level = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)
    return [tokenizer.convert_tokens_to_ids(c) for word, _ in byte_level for c in word]


async def test_a_stop_text_split_across_tokens_ends_the_sample_and_stays(build: Build, tokenizer: Any) -> None:
    script = [START, *tokenizer.encode("東京"), *bytes_of(tokenizer, "</cod>!?")]
    engine = start(parrot(build, script), tokenizer)
    sampling = Sampling(max_tokens=50, temperature=0, stop=("never", "</cod>"))
    sample = await engine.sample([START], sampling)
    assert (sample.finish, sample.text) == ("stop", "東京</cod>")
    assert list(sample.tokens.ids) == script[1:-2]


async def test_a_token_that_runs_past_the_stop_text_is_kept_whole(build: Build, tokenizer: Any) -> None:
    opening, code, _ = tokenizer.encode("</code>")
    engine = start(parrot(build, [START, 1, opening, code, 5]), tokenizer)
    sample = await engine.sample([START], Sampling(max_tokens=50, temperature=0, stop=("</co",)))
    assert sample.text == '"</code'
    assert list(sample.tokens.ids) == [1, opening, code]


async def test_a_stop_text_of_bytes_from_several_tokens(build: Build, tokenizer: Any) -> None:
    script = [START, *bytes_of(tokenizer, "a🙂"), *bytes_of(tokenizer, "!")]
    engine = start(parrot(build, script), tokenizer)
    sample = await engine.sample([START], Sampling(max_tokens=50, temperature=0, stop=("🙂",)))
    assert (sample.finish, sample.text) == ("stop", "a🙂")
    cut = await engine.sample([START], Sampling(max_tokens=len(script) - 3, temperature=0))
    assert (cut.finish, cut.text) == ("length", "a\ufffd")  # half a character


async def test_the_end_of_turn_token_is_in_the_ids_but_not_in_the_text(build: Build, tokenizer: Any) -> None:
    script = [START, *bytes_of(tokenizer, "the 🙂"), tokenizer.eos_token_id, 5]
    model = parrot(build, script)
    sample = await start(model, tokenizer).sample([START], GREEDY)
    assert (sample.finish, sample.text) == ("eos", "the 🙂")
    assert list(sample.tokens.ids) == script[1:-1]
    model.generation_config.eos_token_id = [script[3], 398]
    early = await start(model, tokenizer).sample([START], GREEDY)
    assert (early.finish, early.text) == ("eos", "th")
    assert list(early.tokens.ids) == script[1:4]


async def test_what_the_chat_template_ends_a_turn_with_ends_it(build: Build, tokenizer: Any) -> None:
    gemma = copy.deepcopy(tokenizer)  # whose end-of-sequence token is another
    gemma.add_special_tokens({"additional_special_tokens": ["<|turn|>"]})
    gemma.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|turn|>\n{% endfor %}"
    turn = gemma.convert_tokens_to_ids("<|turn|>")
    assert turn not in (gemma.eos_token_id, START)
    script = [START, *bytes_of(gemma, "42"), turn, 5]
    sample = await start(parrot(build, script), gemma).sample([START], GREEDY)
    assert (sample.finish, sample.text) == ("eos", "42")
    assert list(sample.tokens.ids) == script[1:-1]
    assert (await start(parrot(build, script), tokenizer).sample([START], GREEDY)).finish == "length"


async def test_the_text_is_what_the_tokenizer_decodes(build: Build, tokenizer: Any) -> None:
    engine = start(build("Qwen2"), tokenizer)
    sample = await engine.sample([1, 2], Sampling(max_tokens=100))
    shown = [i for i in sample.tokens.ids if i != tokenizer.eos_token_id]
    assert sample.text == tokenizer.decode(shown, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("family", ["Qwen2", "Olmo2"])
async def test_new_weights_forget_what_the_old_ones_computed(build: Build, tokenizer: Any, family: str) -> None:
    model, other = build(family), build(family)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    engine = start(model, tokenizer)
    prompt = list(range(20))
    first = await engine.sample(prompt, Sampling(max_tokens=5, temperature=0), session="a")
    running = asyncio.create_task(engine.sample([7, 8, 9], Sampling(max_tokens=60, temperature=0)))
    await decoding(engine, 15)
    await engine.load(other.state_dict(), version=3)
    fresh = start(other, tokenizer)
    ids = [*prompt, *first.tokens.ids, 3]
    kept, anew = [await e.sample(ids, Sampling(max_tokens=8, temperature=0), session="a") for e in (engine, fresh)]
    assert (first.tokens.versions, kept.tokens.versions) == ((0,) * 5, (3,) * 8)
    assert kept.tokens.ids == anew.tokens.ids
    assert kept.tokens.logprobs == pytest.approx(anew.tokens.logprobs, abs=1e-5)
    crossed = await running
    assert crossed.tokens.versions is not None
    old = crossed.tokens.versions.count(0)
    assert 5 <= old < 40
    assert crossed.tokens.versions == (0,) * old + (3,) * (len(crossed.tokens) - old)
    scored = await fresh.score([7, 8, 9, *crossed.tokens.ids])
    assert scored.logprobs is not None
    assert crossed.tokens.logprobs is not None
    assert crossed.tokens.logprobs[old:] == pytest.approx(scored.logprobs[3 + old :], abs=1e-4)
    assert crossed.tokens.logprobs[:old] != pytest.approx(scored.logprobs[3 : 3 + old], abs=1e-4)


async def test_training_the_module_in_place_changes_what_is_sampled(build: Build, tokenizer: Any) -> None:
    """Weights are shared: an optimiser step is seen without a copy, and is that of an untouched module."""
    model = build("Qwen2")
    plain = copy.deepcopy(model)
    engine = start(model, tokenizer)
    await engine.sample([1, 2, 3], Sampling(max_tokens=3))
    ids = torch.tensor([[1, 2, 3, 4, 5]])
    for each in (model, plain):
        optimiser = torch.optim.AdamW(each.parameters(), lr=0.01)
        each.train()
        each(input_ids=ids, labels=ids).loss.backward()
        optimiser.step()
    await engine.load(model, version=1)
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    scored, wanted = await engine.score([1, 2, 3, 4, 5]), await start(plain, tokenizer).score([1, 2, 3, 4, 5])
    assert scored.versions == (1,) * 5
    assert scored.logprobs == pytest.approx(wanted.logprobs, abs=1e-5)
    model.load_state_dict(build("Qwen2").state_dict(), assign=True)  # parameters elsewhere in memory
    await engine.load(model, version=2)
    original = await start(build("Qwen2"), tokenizer).score([1, 2, 3, 4, 5])
    assert (await engine.score([1, 2, 3, 4, 5])).logprobs == pytest.approx(original.logprobs, abs=1e-5)


async def test_a_shared_model_is_saved_whole(build: Build, tokenizer: Any, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = build("Qwen2")
    engine = start(model, tokenizer)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    wanted = await start(build("Qwen2"), tokenizer).score([1, 2, 3])
    for each in (engine, start(again, tokenizer)):
        assert (await each.score([1, 2, 3])).logprobs == pytest.approx(wanted.logprobs, abs=1e-5)


async def test_adapters_are_sampled_from(build: Build, tokenizer: Any) -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(build("Qwen2"), LoraConfig(target_modules=["q_proj", "up_proj"], lora_dropout=0.5))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    engine = start(model, tokenizer)
    model.train()  # dropout must not reach what is sampled
    sample = await engine.sample([1, 2, 3], Sampling(max_tokens=6))
    with torch.no_grad():
        logits = model.eval()(input_ids=torch.tensor([[1, 2, 3, *sample.tokens.ids]])).logits[0, 2:-1]
    wanted = logits.log_softmax(-1).gather(1, torch.tensor(sample.tokens.ids)[:, None])[:, 0]
    assert sample.tokens.logprobs == pytest.approx(wanted.tolist(), abs=1e-4)


async def test_a_cancelled_call_gives_its_slot_back(build: Build, tokenizer: Any) -> None:
    engine = start(build("Qwen2"), tokenizer, max_sequences=2)
    calls = [
        asyncio.create_task(engine.sample([i, 2, 3], Sampling(max_tokens=400), session=str(i))) for i in range(4)
    ]
    await decoding(engine, 10)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert all(call.cancelled() for call in calls)
    for call in calls:
        engine.release(str(calls.index(call)))
    assert engine.slots_in_use == 0
    assert len((await engine.sample([1], Sampling(max_tokens=4))).tokens) == 4


async def test_calls_that_cannot_be_answered_say_why(build: Build, tokenizer: Any) -> None:
    engine = start(build("Qwen2"), tokenizer, max_len=30)
    with pytest.raises(EngineError, match="prompt has 30 tokens and max_len is 30"):
        await engine.sample([1] * 30, Sampling())
    with pytest.raises(EngineError, match="31 tokens and max_len is 30"):
        await engine.score([1] * 31)
    with pytest.raises(EngineError, match="id 400 is outside of the model's vocabulary of 400"):
        await engine.sample([1, 400], Sampling())
    with pytest.raises(EngineError, match="empty"):
        await engine.sample([], Sampling())
    with pytest.raises(EngineError, match="not str"):
        await engine.load("somewhere", version=1)
    last = await engine.sample([1] * 29, Sampling(max_tokens=10))
    assert (len(last.tokens), last.finish) == (1, "length")
    first = asyncio.create_task(engine.sample([1, 2], Sampling(max_tokens=9), session="a"))
    await asyncio.sleep(0)
    with pytest.raises(EngineError, match="session 'a' is already sampling"):
        await engine.sample([1, 2], Sampling(), session="a")
    await first


def test_a_sequence_may_be_as_long_as_the_model_takes(build: Build, tokenizer: Any) -> None:
    model = build("Qwen2", max_position_embeddings=9000)
    told = ({}, {"max_len": 40}, {"max_len": 10**6})
    assert [start(model, tokenizer, **fields).max_len for fields in told] == [9000, 40, 9000]
    silent = SimpleNamespace(config=BloomConfig())  # which says nothing of positions
    assert [longest(silent, wanted) for wanted in (None, 10**6)] == [32768, 10**6]


async def test_a_failing_step_fails_every_call_and_the_engine_goes_on(build: Build, tokenizer: Any) -> None:
    model = build("Qwen2")
    engine = start(model, tokenizer)

    def fail(*_: object) -> None:
        raise RuntimeError("out of something")

    hook = model.lm_head.register_forward_pre_hook(fail)
    calls = [engine.sample([i], Sampling(max_tokens=5)) for i in range(3)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(r, EngineError) and "out of something" in str(r) for r in results)
    assert engine.slots_in_use == 0
    hook.remove()
    assert len((await engine.sample([1], Sampling(max_tokens=5))).tokens) == 5


async def test_closing_fails_who_waits(build: Build, tokenizer: Any) -> None:
    engine = start(build("Qwen2"), tokenizer)
    call = asyncio.create_task(engine.sample([1], Sampling(max_tokens=300)))
    await decoding(engine, 3)
    await engine.close()
    await engine.close()
    with pytest.raises(EngineError, match="closed"):
        await call
    with pytest.raises(EngineError, match="closed"):
        await engine.sample([1], Sampling())


def test_attention_that_the_engine_does_not_do_is_refused(build: Build, tokenizer: Any) -> None:
    window = {"sliding_window": 64, "use_sliding_window": True, "max_window_layers": 1}
    with pytest.raises(ConfigError, match="window of 64"):
        start(build("Qwen2", **window), tokenizer)
    start(build("Qwen2", **window), tokenizer, max_len=64)
    with pytest.raises(ConfigError, match="softcap"):
        start(build("Gemma2", head_dim=12, sliding_window=4096), tokenizer)
    with pytest.raises(ConfigError, match="bloom"):
        start(build("Bloom", n_layer=3, n_head=4), tokenizer)


async def test_a_model_in_another_dtype_is_copied_and_kept_up_to_date(build: Build, tokenizer: Any) -> None:
    model = build("Llama").to(torch.float64)
    engine = start(model, tokenizer)
    before = await engine.score([1, 2, 3])
    with torch.no_grad():
        model.lm_head.weight.mul_(0.5)
    assert (await engine.score([1, 2, 3])).logprobs == before.logprobs
    await engine.load(model, version=1)
    wanted = await start(copy.deepcopy(model).float(), tokenizer).score([1, 2, 3])
    assert (await engine.score([1, 2, 3])).logprobs == pytest.approx(wanted.logprobs, abs=1e-6)
