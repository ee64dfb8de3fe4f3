"""Tokenizers of five families without merges: each with its added tokens, its normaliser, its kind of template."""

from __future__ import annotations

from functools import cache
from typing import Any

import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

QWEN_SPECIAL = """<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|>
<|box_start|> <|box_end|> <|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|>
<|vision_pad|> <|image_pad|> <|video_pad|>"""
QWEN_ADDED = """<tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|>
<|file_sep|> <tool_response> </tool_response> <think> </think>"""
QWEN = """\
{% if tools %}<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content }}

{% endif %}# Tools: <tools>
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}</tools><|im_end|>
{% elif messages[0].role == 'system' %}<|im_start|>system
{{ messages[0].content }}<|im_end|>
{% endif %}{% for m in messages %}{% if m.role in ('user', 'assistant') %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% elif m.role == 'tool' %}\
{% if loop.first or messages[loop.index0 - 1].role != 'tool' %}<|im_start|>user{% endif %}
<tool_response>
{{ m.content }}
</tool_response>{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}<|im_end|>
{% endif %}{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

LLAMA_SPECIAL = (
    "<|begin_of_text|> <|end_of_text|> <|finetune_right_pad_id|> <|start_header_id|> <|end_header_id|> <|eom_id|> "
    "<|eot_id|> <|python_tag|> " + " ".join(f"<|reserved_special_token_{i}|>" for i in range(248))
)
LLAMA = """\
{{ bos_token }}{% for m in messages %}\
<|start_header_id|>{{ 'ipython' if m.role == 'tool' else m.role }}<|end_header_id|>

{% if tools and m.role == 'user' and loop.index0 < 2 %}{{ tools | tojson }}

{% endif %}{{ m.content | tojson if m.role == 'tool' else m.content | trim }}<|eot_id|>{% endfor %}\
{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>

{% endif %}"""

MISTRAL_SPECIAL = (
    "<unk> <s> </s> [INST] [/INST] [TOOL_CALLS] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] "
    "[TOOL_RESULTS] [/TOOL_RESULTS] [IMG] [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] "
    "[SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CONTENT] " + " ".join(f"[control_{i}]" for i in range(17, 60))
)
MISTRAL = """\
{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}\
{% if tools and loop.last %}[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}\
[INST] {{ m.content }}[/INST]{% elif m.role == 'assistant' %} {{ m.content }}{{ eos_token }}\
{% elif m.role == 'tool' %}{% if m.tool_call_id | length != 9 %}\
{{ raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}{% endif %}\
[TOOL_RESULTS] {{ m.content }}[TOOL_CONTENT]{{ m.tool_call_id }}[/TOOL_RESULTS]\
{% else %}[SYSTEM_PROMPT] {{ m.content }}[/SYSTEM_PROMPT]{% endif %}{% endfor %}"""

GEMMA_SPECIAL = "<pad> <eos> <bos> <unk> <mask> <start_of_turn> <end_of_turn> <start_of_image> <end_of_image>"
GEMMA_ADDED = " ".join(
    [f"<unused{i}>" for i in range(99)]
    + [f"<{slash}{name}>" for name in ("table", "tr", "td", "h1", "code", "b", "s", "sup") for slash in ("", "/")]
)
GEMMA = """\
{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}
{{ m.content | trim }}<end_of_turn>
{% endfor %}{% if add_generation_prompt %}<start_of_turn>model
{% endif %}"""

DEEPSEEK_SPECIAL = "<｜begin▁of▁sentence｜> <｜end▁of▁sentence｜> <｜▁pad▁｜>"
DEEPSEEK_ADDED = """<｜fim▁hole｜> <｜fim▁begin｜> <｜fim▁end｜> <｜User｜> <｜Assistant｜> <|EOT|>
<｜tool▁calls▁begin｜> <｜tool▁calls▁end｜> <｜tool▁call▁begin｜> <｜tool▁call▁end｜> <｜tool▁sep｜>
<｜tool▁outputs▁begin｜> <｜tool▁outputs▁end｜> <｜tool▁output▁begin｜> <｜tool▁output▁end｜> ｜DSML｜
<think> </think>"""
DEEPSEEK = """\
{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% elif m.role == 'user' %}\
<｜User｜>{{ m.content }}{% elif m.role == 'assistant' %}<｜Assistant｜>{{ m.content }}<｜end▁of▁sentence｜>\
{% else %}{% if messages[loop.index0 - 1].role != 'tool' %}<｜tool▁outputs▁begin｜>{% endif %}\
<｜tool▁output▁begin｜>{{ m.content }}<｜tool▁output▁end｜>\
{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}<｜tool▁outputs▁end｜>{% endif %}\
{% endif %}{% endfor %}{% if add_generation_prompt %}<｜Assistant｜>{% endif %}"""


def _byte_level(normalizer: Any = None) -> Tokenizer:
    alphabet = {character: i for i, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(alphabet, []))
    backend.normalizer = normalizer
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    backend.decoder = decoders.ByteLevel()
    return backend


def _sentencepiece(*, dummy_prefix: bool) -> Tokenizer:
    """Characters, bytes for those that are missing, and `▁` for spaces."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *map(chr, range(33, 127))]
    backend = Tokenizer(
        models.BPE({piece: i for i, piece in enumerate(pieces)}, [], byte_fallback=True, unk_token="<unk>")
    )
    prefix = [normalizers.Prepend("▁")] if dummy_prefix else []
    backend.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", "▁")])
    strip = [decoders.Strip(" ", 1, 0)] if dummy_prefix else []
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    backend.decoder = decoders.Sequence(steps)
    return backend


def _make(backend: Tokenizer, special: str, added: str, template: str, bos: str, eos: str) -> Any:
    flagged = [AddedToken(token, special=True, normalized=False) for token in special.split()]
    backend.add_special_tokens(flagged)
    backend.add_tokens([AddedToken(token, special=False, normalized=False) for token in added.split()])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=bos,
        eos_token=eos,
        chat_template=template,
        clean_up_tokenization_spaces=False,
    )


@cache
def family(name: str) -> Any:
    """The tokenizer of qwen, llama, mistral, gemma or deepseek."""
    if name == "qwen":
        backend = _byte_level(normalizers.NFC())
        return _make(backend, QWEN_SPECIAL, QWEN_ADDED, QWEN, "<|endoftext|>", "<|im_end|>")
    if name == "llama":
        return _make(_byte_level(), LLAMA_SPECIAL, "", LLAMA, "<|begin_of_text|>", "<|eot_id|>")
    if name == "mistral":
        return _make(_sentencepiece(dummy_prefix=True), MISTRAL_SPECIAL, "", MISTRAL, "<s>", "</s>")
    if name == "gemma":
        backend = _sentencepiece(dummy_prefix=False)
        return _make(backend, GEMMA_SPECIAL, f"{GEMMA_ADDED} ▁▁", GEMMA, "<bos>", "<end_of_turn>")
    sequence = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>")
    return _make(_byte_level(), DEEPSEEK_SPECIAL, DEEPSEEK_ADDED, DEEPSEEK, *sequence)


FAMILIES = ("qwen", "llama", "mistral", "gemma", "deepseek")
