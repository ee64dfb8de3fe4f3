"""Estimates before a run: what can be counted is counted, and what must not fit does not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from agentgym import config
from agentgym.errors import ConfigError
from agentgym.models import nano
from agentgym.models.load import Lora, load_policy
from agentgym.plan import GIB, Shape, find_gpu, learner_bytes, make_plan
from agentgym.run import resolve_settings
from agentgym.trainers.learner import Learner

from .test_cli import agentgym

QWEN_7B = Shape(7_615_616_512, 7_615_616_512, 28, 3584, 18944, 57344, 32768, 2 * 152064 * 3584)
"""Qwen2.5-7B's published configuration: 28 layers with 4 heads of 128 for keys and values."""


def settings(**more: Any) -> Any:
    return resolve_settings({"recipe": "grpo_tcr", "env": "retool", **more}, [])


def test_parameters_adapters_and_the_cache_are_those_of_the_model_itself() -> None:
    model, _ = load_policy("nano", seed=0, lora=Lora(rank=8))
    shape = Shape.of("nano", 8)
    assert shape.parameters == sum(weight.numel() for weight in nano.model(0).parameters())
    assert shape.trained == sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert Shape.of("nano", 0).trained == shape.parameters
    assert shape.outer == nano.model(0).get_input_embeddings().weight.numel(), "nano's are tied"
    cache = nano.model(0)(torch.tensor([[1, 2, 3]]), use_cache=True).past_key_values
    numbers = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    assert shape.kv_bytes == 2 * numbers // 3


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_states_of_the_learner_are_those_it_really_has(optimizer: Any) -> None:
    """In bfloat16, after a step; Muon's differ by the embedding, which AdamW steps."""
    model = nano.model(0).to(torch.bfloat16)
    learner = Learner(model, optimizer=optimizer, packing="flat")
    model(input_ids=torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, 2, 3]])).loss.backward()
    learner._step(1e-3)
    tensors = [state for state in learner.state_tensors().values() if state.ndim]
    told = learner_bytes(Shape.of("nano", 0), settings(optimizer=optimizer), 1)["masters and optimiser"]
    embedding = 4 * model.get_input_embeddings().weight.numel() if optimizer == "muon" else 0
    assert sum(t.numel() * t.element_size() for t in tensors) - embedding == pytest.approx(told, rel=0.01)


def test_seven_billion_parameters_do_not_learn_whole_on_one_card_and_do_on_eight() -> None:
    card = find_gpu("h100")
    alone = make_plan(QWEN_7B, settings(), card, 1, {})
    assert sum(alone.learner.values()) > 18 * 7.6e9 > 80 * GIB  # 18 bytes a parameter
    assert not alone.fits
    together = make_plan(QWEN_7B, settings(gradient_checkpointing=True, shard=True), card, 8, {})
    assert together.fits
    assert not make_plan(QWEN_7B, settings(gradient_checkpointing=True), card, 8, {}).fits
    adapters = dataclasses.replace(QWEN_7B, trained=40_000_000)
    assert make_plan(adapters, settings(gradient_checkpointing=True), card, 1, {}).fits


def test_more_of_the_same_is_never_slower_or_tighter() -> None:
    few, many = (
        make_plan(QWEN_7B, settings(gradient_checkpointing=True, shard=True), find_gpu("H200"), gpus, {})
        for gpus in (4, 8)
    )
    assert sum(many.learner.values()) < sum(few.learner.values())
    assert many.sequences > few.sequences
    assert (many.sampled > few.sampled, many.trained) == (True, 2 * few.trained)
    assert many.step < few.step


def test_an_engine_has_the_learners_weights_or_a_share_of_its_own() -> None:
    small = dataclasses.replace(QWEN_7B, parameters=10**9, trained=10**9)
    whole = settings(gradient_checkpointing=True)
    torch_, vllm = (make_plan(small, whole, find_gpu("H100"), 1, {"name": name}) for name in ("torch", "vllm"))
    assert (torch_.engine, vllm.engine) == (0, 2 * 10**9)
    assert vllm.cache == 40 * GIB - vllm.engine  # half of the card, by default
    assert torch_.cache == pytest.approx(0.92 * 80 * GIB - sum(torch_.learner.values()))


def test_a_share_that_the_learner_does_not_leave_does_not_fit() -> None:
    model, card = dataclasses.replace(QWEN_7B, parameters=15 * 10**8, trained=15 * 10**8), find_gpu("H100")
    half, most = (
        make_plan(model, settings(gradient_checkpointing=True), card, 1, {"name": "vllm", **share})
        for share in ({}, {"gpu_memory_utilization": 0.7})
    )
    assert (half.fits, most.fits) == (True, False)
    assert most.cache == pytest.approx((0.92 - 0.7) * 80 * GIB - sum(most.learner.values()))
    assert "a lower engine.gpu_memory_utilization" in most.lighter


def test_beside_rollouts_a_step_takes_as_long_as_the_longer_part() -> None:
    turns, beside = (
        make_plan(QWEN_7B, settings(shard=True, max_staleness=n), find_gpu("H200"), 8, {"name": "vllm"}).step
        for n in (0, 1)
    )
    assert turns / 2 <= beside < turns


def test_advice_is_what_was_not_said_yet() -> None:
    alone = make_plan(QWEN_7B, settings(gradient_checkpointing=True), find_gpu("L4"), 1, {})
    assert alone.lighter == ("shard=true on several GPUs", "lora.rank=16", "a lower microbatch_tokens")


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(ConfigError, match="it is the server's GPUs that sample"):
        make_plan(QWEN_7B, settings(), find_gpu("H100"), 1, {"name": "openai"})
    with pytest.raises(ConfigError, match=r"gpu=H10: .*H100"):
        find_gpu("H10")
    with pytest.raises(ConfigError, match=r"tensor_parallel_size=4: one process .*gpus=8 is neither"):
        make_plan(QWEN_7B, settings(), find_gpu("H100"), 8, {"tensor_parallel_size": 4})
    with pytest.raises(ConfigError, match="the learner has one GPU to itself"):
        make_plan(QWEN_7B, settings(cluster="ray"), find_gpu("H100"), 8, {})


def test_an_engine_of_several_gpus_has_one_learner_on_the_first_of_them() -> None:
    small = dataclasses.replace(QWEN_7B, parameters=10**9, trained=10**9)
    told, card = settings(gradient_checkpointing=True, shard=True), find_gpu("H100")
    one, four = (
        make_plan(small, told, card, gpus, {"name": "vllm", "tensor_parallel_size": gpus}) for gpus in (1, 4)
    )
    assert four.learner == one.learner
    assert four.trained == one.trained
    assert (four.engine, four.sampled > one.sampled) == (one.engine / 4, True)


def test_the_command_reads_a_configuration_without_weights(tmp_path: Path) -> None:
    config = nano.model(0).config.to_dict() | {"hidden_size": 4096, "num_hidden_layers": 32, "layer_types": None}
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 14336}))
    nano.tokenizer().save_pretrained(tmp_path)
    small = agentgym(tmp_path, "plan", "model=nano")
    assert small.returncode == 0
    assert "keys and values" in small.stdout
    run = tmp_path / "runs" / "mine" / "checkpoints"
    run.mkdir(parents=True)
    (run / "latest").write_text("step_1\n")
    (run / "step_1").symlink_to(tmp_path)
    of_run = agentgym(tmp_path, "plan", "model=runs/mine", "gpu=L4")
    large = agentgym(tmp_path, "plan", f"model={tmp_path}", "gpu=L4")
    assert (of_run.returncode, of_run.stdout.count("GiB")) == (large.returncode, large.stdout.count("GiB"))
    assert large.returncode == 1
    assert "DOES NOT FIT" in large.stdout


def test_losses_that_compare_with_a_reference_need_room_for_it() -> None:
    adapters = dataclasses.replace(QWEN_7B, trained=40_000_000)
    grpo, tcr = (resolve_settings({"recipe": recipe, "env": "retool"}, []) for recipe in ("grpo", "grpo_tcr"))
    assert learner_bytes(QWEN_7B, tcr, 1)["reference"] == 0
    assert learner_bytes(QWEN_7B, grpo, 1)["reference"] == 2 * QWEN_7B.parameters
    assert learner_bytes(adapters, grpo, 1)["reference"] == 2 * adapters.trained
    sharded = resolve_settings({"recipe": "grpo", "env": "retool", "shard": True}, [])
    assert learner_bytes(QWEN_7B, sharded, 8)["reference"] == 4 * QWEN_7B.parameters / 8


def test_a_stage_counts_with_its_own_batch() -> None:
    def step(stages: str) -> float:
        told = config.parse_overrides([f"stages.rl={stages}"]) if stages else {}
        plan = make_plan(QWEN_7B, settings(shard=True, **told), find_gpu("H200"), 8, {})
        return plan.step

    assert step("{batch_size=64}") > 1.5 * step("")
