"""A start that fails: whatever was opened before is closed again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agentgym.engines.scheduler import TorchEngine
from agentgym.engines.torch import Torch
from agentgym.errors import AgentgymError
from agentgym.opening import open_policy
from agentgym.run import resolve_settings

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
