"""Small chat templates, each with one trait of a published family that multi-turn conversations stumble over."""

from __future__ import annotations

import copy
from typing import Any

_SPEAK = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
_EACH = "{% for m in messages %}<|im_start|>{{ m.role }}\n"
_END = "<|im_end|>\n{% endfor %}"
_REFUSES_TOOLS = "{% if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"

TRAITS = {
    "plain": f"{_EACH}{{{{ m.content }}}}{_END}{_SPEAK}",
    # Qwen3: thoughts before the newest question go, and an answer at the very end gets an empty one
    "drops_thinking": (
        "{% set ns = namespace(last=0) %}"
        "{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
        f"{_EACH}"
        "{% if m.role != 'assistant' %}{{ m.content }}"
        "{% elif loop.index0 < ns.last %}{{ m.content.split('</think>')[-1].lstrip('\n') }}"
        "{% elif loop.last and '</think>' not in m.content %}<think>\n\n</think>\n\n{{ m.content }}"
        f"{{% else %}}{{{{ m.content }}}}{{% endif %}}{_END}{_SPEAK}"
    ),
    # DeepSeek-R1 and Qwen3-Thinking-2507: the prompt begins a thought, and earlier ones go
    "begins_thought": (
        f"{_EACH}{{{{ m.content.split('</think>')[-1] }}}}{_END}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    ),
    # DeepSeek-R1: only the first of all outputs is announced
    "announces_once": (
        "{% set ns = namespace(first=true) %}"
        f"{_EACH}"
        "{% if m.role == 'tool' and ns.first %}OUTPUTS: {% set ns.first = false %}{% endif %}"
        f"{{{{ m.content }}}}{_END}{_SPEAK}"
    ),
    # Qwen2.5: who brings no system message gets one
    "default_system": (
        "{% if messages[0].role != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}"
        f"{_EACH}{{{{ m.content }}}}{_END}{_SPEAK}"
    ),
    # Llama 3: a date, and contents are stripped
    "dated": f"Today Date: {{{{ strftime_now('%d %b %Y') }}}}\n{_EACH}{{{{ m.content | trim }}}}{_END}{_SPEAK}",
    # Gemma 2: no system message, no tools, strict turns, contents are stripped
    "strict": (
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}"
        f"<|im_start|>{{{{ m.role }}}}\n{{{{ m.content | trim }}}}{_END}{_SPEAK}"
    ),
    # Mistral: tools and system message stand before the newest user message; outputs carry nine-letter ids
    "moves_tools": (
        "{% if messages[0].role == 'system' %}{% set told = messages[0].content %}{% set rest = messages[1:] %}"
        "{% else %}{% set told = '' %}{% set rest = messages %}{% endif %}"
        "{% set users = rest | selectattr('role', 'equalto', 'user') | list %}"
        "{% for m in rest %}{% if m.role == 'user' %}"
        "{% if tools and m == users[-1] %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}"
        "[INST]{% if told and m == users[-1] %}{{ told }}\n\n{% endif %}{{ m.content }}[/INST]"
        "{% elif m.role == 'tool' %}{% if (m.tool_call_id | default('')) | length != 9 %}"
        "{{ raise_exception('ids have 9 letters') }}{% endif %}"
        "[TOOL_RESULTS]{{ m.content }} of {{ m.tool_call_id }}[/TOOL_RESULTS]"
        "{% else %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
    ),
    # no token of its own ends the assistant's turn
    "no_end": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}",
    # what tools say is left out without a word
    "deaf_to_tools": f"{_EACH}{{% if m.role != 'tool' %}}{{{{ m.content }}}}{{% endif %}}{_END}{_SPEAK}",
    "no_tools": f"{_EACH}{_REFUSES_TOOLS}{{{{ m.content }}}}{_END}{_SPEAK}",
    "deaf_to_itself": f"{_EACH}{{{{ m.content if m.role != 'assistant' }}}}{_END}{_SPEAK}",
}


def with_trait(tokenizer: Any, name: str, **changes: Any) -> Any:
    """A copy of the tokenizer with that template."""
    twin = copy.deepcopy(tokenizer)
    twin.chat_template = TRAITS[name]
    for key, value in changes.items():
        setattr(twin, key, value)
    return twin
