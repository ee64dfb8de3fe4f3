"""Builds the tokenizers from their corpora: `python -m agentgym.models.nano.build_tokenizer`. Deterministic."""

from __future__ import annotations

import json
import re
from typing import Any

from agentgym.models.nano import TOKENIZERS

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
WORDS = {"nano": 768, "nano-search": 400, "nano-sql": 900, "nano-memory": 900}
"""Merges learned from the corpus, on top of bytes and of numbers of up to two digits."""
_SYLLABLE = "[b-z][aeiou]"
_WORD = "Battle|Book|Doc|Feast|Games|In|It|Since|Song|Tale|Until|Where|Who"
_MEMORY_WORD = "Memories|Part|Question|ADD|UPDATE|DELETE|NOOP|No(?=,)|Where|Who|What|Good|Thank|It|See|All"
_NAME = f"[A-Z][aeiou]|(?<=[A-Z][aeiou]){_SYLLABLE}|(?<=[A-Z][aeiou]{_SYLLABLE}){_SYLLABLE}"
_SHORT_NAME = "[A-Z][aeiou][klnrs](?![a-z])"
PIECES = {
    "nano": r"\d{1,2}|\D+",
    "nano-search": rf"\d{{1,2}}|{_WORD}|{_NAME}|[A-Z]|[^\dA-Z]+",
    "nano-sql": rf"\d{{1,2}}|{_SHORT_NAME}|(?:(?!{_SHORT_NAME})\D)+",
    "nano-memory": rf"\d{{1,2}}|{_MEMORY_WORD}|{_SHORT_NAME}|[A-Z]|[^\dA-Z]+",
}
"""What is encoded on its own. Names are cut into syllables, wherever they stand, so that they can be copied; short
ones are one token each, which is learned soonest."""


def build(name: str) -> dict[str, Any]:
    """A tokenizer as JSON: byte-level BPE over pieces of text, and digits in pairs."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES[name]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=len(SPECIAL) + 256 + WORDS[name],
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    file = TOKENIZERS[name]
    corpus = file.with_name(file.name.replace("tokenizer", "corpus")).with_suffix(".txt")
    texts = corpus.read_text(encoding="utf-8").split("\n----\n")
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
    for name, file in TOKENIZERS.items():
        file.write_text(json.dumps(build(name), ensure_ascii=False, indent=0), encoding="utf-8")
