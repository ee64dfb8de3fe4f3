"""What a chat template does to a run's conversations is known before the weights are loaded: here are none."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from agentgym import opening, run
from agentgym.check import check_model
from agentgym.config import parse_overrides
from agentgym.errors import ConfigError

from .traits import with_trait

WITH_MESSAGES = ["env=tool_agent", "tools=python", "env.protocol=hermes", "env.tasks=countdown"]


@pytest.fixture
def folder(tokenizer: Any, tmp_path: Path) -> Any:
    """`folder("strict")`: a model's folder without weights."""

    def make(trait: str) -> Path:
        with_trait(tokenizer, trait).save_pretrained(tmp_path)
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
        return tmp_path

    return make


async def start(model: Path | str, *words: str) -> None:
    settings = run.resolve_settings(parse_overrides([*words, f"model={model}", "device=cpu"]), [])
    async with opening.open_policy(settings):
        pass


async def test_a_template_without_a_place_for_what_is_shown(folder: Any) -> None:
    with pytest.raises(ConfigError, match=r"cannot play this environment.*roles must alternate.*such as retool"):
        await start(folder("strict"), *WITH_MESSAGES)


async def test_a_template_that_leaves_out_what_is_shown(folder: Any) -> None:
    with pytest.raises(ConfigError, match=r"messages of the role tool are left out.*such as retool"):
        await start(folder("deaf_to_tools"), *WITH_MESSAGES)


async def test_a_template_that_drops_thoughts_is_used_and_said_once(folder: Any, caplog: Any) -> None:
    with (
        caplog.at_level(logging.WARNING, "agentgym"),
        pytest.raises(ConfigError, match="no model could be loaded"),
    ):
        await start(folder("begins_thought"), *WITH_MESSAGES)
    [record] = [record for record in caplog.records if "chat template" in record.message]
    assert "earlier thinking is left out" in record.message


async def test_a_template_that_changes_nothing_is_not_spoken_of(caplog: Any) -> None:
    await start("nano", *WITH_MESSAGES)
    assert not [record for record in caplog.records if "chat template" in record.message]


@pytest.mark.parametrize("trait", ["strict", "deaf_to_itself"])
async def test_outputs_within_the_assistants_message_need_nothing(folder: Any, caplog: Any, trait: str) -> None:
    with pytest.raises(ConfigError, match="no model could be loaded"):
        await start(folder(trait), "env=retool")
    assert not [record for record in caplog.records if "chat template" in record.message]


async def test_check_tells_of_every_case(folder: Any) -> None:
    rows = await check_model(str(folder("strict")))
    assert [row.ok for row in rows if row.name.startswith("user")] == [True] * 5
    assert not any(row.ok for row in rows if "output" in row.name)
    told = {row.name: row.detail for row in rows}
    assert told["user"] == "equal"
    assert told["user, after white space"].startswith("differs: white space")
