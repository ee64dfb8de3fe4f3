"""Published tokenizers with their chat templates, from the folder that `AGENTGYM_TOKENIZERS` names: see
docs/chat_templates.md."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agentgym.models.append_only import CASES, inspect
from agentgym.models.chat import Chat
from agentgym.models.load import load_tokenizer
from agentgym.models.template import Template
from agentgym.vocabulary import Vocabulary

FOLDER = Path(os.environ.get("AGENTGYM_TOKENIZERS", ""))
VERDICTS = {
    "qwen2.5": "eeeee eeeeeeee",
    "qwen3": "eeede eeeeeeee",
    "qwen3-2507-instruct": "eeeee eeeeeeee",
    "qwen3-2507-thinking": "ddddd eeeeeedd",
    "llama-3.1": "eeeed eeeeeeee",
    "llama-3.2": "eeeed eeeeeeee",
    "gemma-2": "eeeed rrrrrrrr",
    "gemma-3": "eeeed rrrrrrrr",
    "deepseek-r1-distill-qwen": "ddddd dddddddd",
    "deepseek-r1-distill-llama": "ddddd dddddddd",
    "mistral-7b-v0.3": "edded eeeeeeee",
    "mistral-nemo": "eddee edeeedde",
    "mistral-small-3": "eddee eeeeeeee",
}
ENDS = {
    "qwen": "<|im_end|>",
    "llama": "<|eot_id|>",
    "gemma": "<end_of_turn>",
    "deepseek": "<｜end▁of▁sentence｜>",
    "mistral": "</s>",
}
pytestmark = pytest.mark.skipif(not FOLDER.name, reason="AGENTGYM_TOKENIZERS names no folder of tokenizers")


@pytest.fixture(scope="module", params=VERDICTS)
def published(request: pytest.FixtureRequest) -> tuple[str, Any]:
    return request.param, load_tokenizer(str(FOLDER / request.param))


def test_what_comes_out_of_each_kind_of_conversation(published: tuple[str, Any]) -> None:
    name, tokenizer = published
    found = inspect(tokenizer)
    assert len(found) == len(CASES)
    assert "".join(finding.verdict[0] for finding in found) == VERDICTS[name].replace(" ", "")
    assert (
        tokenizer.convert_ids_to_tokens(Template(tokenizer).end) == ENDS[name.split("-")[0].rstrip("0123456789.")]
    )


WORDS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(" \n\t<>&|[]"), max_size=30)


def test_whatever_is_shown_has_the_ids_that_it_has_in_the_whole(published: tuple[str, Any]) -> None:
    """From the end of the assistant's turn on, which is where the policy's own ids end."""
    name, tokenizer = published
    chat, template, outputs = Chat(tokenizer), Template(tokenizer), Vocabulary.of(tokenizer)
    roles = ["user"] if name.startswith("gemma") else ["user", "tool"]

    @settings(deadline=None, max_examples=40)
    @given(role=st.sampled_from(roles), words=WORDS)
    def hold(role: Any, words: str) -> None:
        assume(not outputs.is_armed(words))  # such words are changed before the template sees them
        shown: Any = [{"role": role, "content": words, "tool_call_id": "abcdefgh1"}]
        asked = {"role": "user", "content": "6 * 7?"}
        said = {"role": "assistant", "content": "</think>\n\n42"}
        whole = template.encode(template.open([asked, said, *shown]))
        added = chat.extend(shown)
        assert whole[len(whole) - len(added) - 1 :] == (template.end, *added)

    hold()
