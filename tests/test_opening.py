"""Starts: those that fail close what was opened before, those that cannot go well are refused, and what is loaded
is put where it is needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from agentgym.engines.scheduler import TorchEngine
from agentgym.engines.torch import Torch
from agentgym.engines.vllm_engine import lora_rank
from agentgym.errors import AgentgymError, ConfigError
from agentgym.opening import aside, open_policy
from agentgym.run import resolve_settings, train

CLOSED: list[TorchEngine] = []


class ToldEngine(TorchEngine):
    """Is noted down when it is closed."""

    async def close(self) -> None:
        CLOSED.append(self)
        await super().close()


@dataclass(frozen=True)
class Told(Torch):
    """The engine `torch`, whose end can be seen."""

    def start(self, model: Any, tokenizer: Any) -> TorchEngine:
        return ToldEngine(model, tokenizer, self)


async def test_all_engines_are_closed_where_there_is_no_sandbox(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    nowhere = {"name": "http", "url": "http://127.0.0.1:9", "token_file": str(tmp_path / "token")}
    told: dict[str, Any] = {"engine": f"{__name__}:Told", "device": "cpu"}
    settings = resolve_settings({**told, "env": {"name": "retool", "sandbox": nowhere}}, [])
    with pytest.raises(AgentgymError, match=r"127\.0\.0\.1:9"):
        async with open_policy(settings):
            pass
    assert len(CLOSED) == 1


def test_who_does_not_learn_has_no_second_copy_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for engine, wanted in (("vllm", ("cpu", "bfloat16")), ("torch", ("auto", "auto"))):
        settings = resolve_settings({"engine": engine}, [])
        assert (aside(settings).device, aside(settings).dtype) == wanted
    told = aside(resolve_settings({"engine": "vllm", "dtype": "float32", "device": "cuda"}, []))
    assert (told.device, told.dtype) == ("cpu", "float32")


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        ({"dtype": "float16"}, "dtype=float16: gradients are too small for it"),
        ({"deterministic": True, "engine": "vllm"}, "deterministic needs engine=torch"),
    ],
)
async def test_what_cannot_be_trained_is_refused_at_once(
    tmp_path: Path, told: dict[str, Any], complaint: str
) -> None:
    settings, nobody = resolve_settings({**told, "output_dir": str(tmp_path / "runs")}, []), cast(Any, None)
    with pytest.raises(ConfigError, match=complaint):
        await train(settings, nobody)
    assert not (tmp_path / "runs").exists()


def test_vllm_keeps_room_for_adapters_of_any_rank() -> None:
    assert [lora_rank(rank) for rank in (1, 8, 12, 16, 33, 512)] == [8, 8, 16, 16, 64, 512]
    with pytest.raises(ConfigError, match=r"lora.rank=513: vLLM takes adapters of a rank up to 512"):
        lora_rank(513)
