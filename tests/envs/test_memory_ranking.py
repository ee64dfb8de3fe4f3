"""Which memories are shown: by an encoder's vectors, computed here once more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentgym.envs.memory import Memory
from agentgym.envs.memory_bank import Memory as Remembered
from agentgym.envs.memory_ranking import related
from agentgym.errors import ConfigError
from agentgym.protocols.memory_r1 import Operation, write_operations
from agentgym.services import Services
from agentgym.types import Task

WORDS = ["ada", "bo", "lives", "likes", "in", "rome", "oslo", "tea", "rain", "query", "passage", ":", "?", "where"]
TEXTS = ["Ada lives in Rome", "Bo likes tea", "rain in Oslo", "Ada likes rain", "Bo lives in Oslo"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small BERT of random weights, on disk."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = str(tmp_path_factory.mktemp("encoder"))
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(
        folder
    )
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(vocabulary), initializer_range=0.5, **sizes)).save_pretrained(folder)
    return folder


def embed(folder: str, text: str) -> Any:
    """Mean of the last hidden states, of length 1."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    with torch.inference_mode():
        read = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
        vector = AutoModel.from_pretrained(folder).eval()(**read).last_hidden_state[0].mean(0)
    return vector / vector.norm()


async def test_the_nearest_vectors(encoder: str) -> None:
    memories = [Remembered(number, text) for number, text in enumerate(TEXTS, 1)]
    async with Services() as services:
        for query in ("Where lives Bo?", "tea", "Ada likes rain"):
            asked = embed(encoder, f"query: {query}")
            scores = {m.id: float(embed(encoder, f"passage: {m.line()}") @ asked) for m in memories}
            best = sorted(scores, key=lambda number: -scores[number])[:2]
            for _ in range(2):  # the second time by vectors that are remembered
                found = await related(query, memories, 2, encoder, services)
                assert [memory.id for memory in found] == best


async def test_an_episode_with_an_encoder(encoder: str) -> None:
    task = Task("t", "Where lives Bo?", "Oslo", {"parts": TEXTS})
    async with Services() as services:
        env = Memory(prompt="plain", encoder=encoder, candidates=2, related=1).make(services)
        await env.reset(seed=0, options={"task": task})
        for text in TEXTS:
            await env.step(write_operations([Operation("ADD", text=text)]))
        assert len(env.shown) == 2
        await env.close()


async def test_an_encoder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    memories = [Remembered(number, "x") for number in range(3)]
    async with Services() as services:
        with pytest.raises(ConfigError, match=f"encoder {tmp_path}"):
            await related("x", memories, 1, str(tmp_path), services)
