"""Builds tokenizer.json from corpus.txt: `python -m agentgym.models.nano.build_tokenizer`. Deterministic."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from agentgym.models.nano import TOKENIZER_FILE

CORPUS_FILE = Path(__file__).with_name("corpus.txt")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
WORDS = 768
"""Merges learned from the corpus, on top of bytes and of numbers of up to two digits."""


def build() -> dict[str, Any]:
    """The tokenizer as JSON: byte-level BPE over runs of non-digits, and digits in pairs."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d{1,2}|\D+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=len(SPECIAL) + 256 + WORDS,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = CORPUS_FILE.read_text(encoding="utf-8").split("\n----\n")
    bpe.train_from_iterator((piece for text in texts for piece in re.split(r"\d+", text)), trainer)
    tokenizer: dict[str, Any] = json.loads(bpe.to_str())
    _add_numbers(tokenizer["model"])
    return tokenizer


def _add_numbers(bpe: dict[str, Any]) -> None:
    """Merges that make every pair of digits one token."""
    for n in range(100):
        pair = f"{n:02d}"
        bpe["merges"].append([pair[0], pair[1]])
        bpe["vocab"][pair] = len(bpe["vocab"])


if __name__ == "__main__":
    TOKENIZER_FILE.write_text(json.dumps(build(), ensure_ascii=False, indent=0), encoding="utf-8")
