"""`model=nano`, `nano-search`, `nano-sql` and `nano-memory`: a 1M-parameter Qwen2 with its own byte-level BPE,
built from a seed, no download. Their vocabularies differ: words of programs and arithmetic, of searches in
invented worlds, of SQL, of what is remembered of a conversation.

Numbers are cut into pairs of digits, and text is merged across the borders of tags, so that
encoding a decoded trajectory gives other ids than were sampled: whoever re-encodes is found out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKENIZERS = {
    "nano": Path(__file__).with_name("tokenizer.json"),
    "nano-search": Path(__file__).with_name("tokenizer_search.json"),
    "nano-sql": Path(__file__).with_name("tokenizer_sql.json"),
    "nano-memory": Path(__file__).with_name("tokenizer_memory.json"),
}
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer(name: str = "nano") -> PreTrainedTokenizerBase:
    """A shipped tokenizer, with a ChatML template."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_file=str(TOKENIZERS[name]),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def model(seed: int, name: str = "nano") -> PreTrainedModel:
    """Random weights drawn from `seed`, in float32."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    vocabulary = tokenizer(name)
    config = Qwen2Config(
        vocab_size=len(vocabulary),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        initializer_range=0.06,  # 0.02 suits wider models; this one learns to copy five times sooner
        eos_token_id=vocabulary.eos_token_id,
        pad_token_id=vocabulary.pad_token_id,
        bos_token_id=None,
        follows_instructions=False,  # kept in checkpoints; environments then leave their instructions out
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen2ForCausalLM(config)
