"""What every contestant of `benchmarks/trainer.py` shares: model, tokenizer, questions, calculator, clock.

Imports nothing of agentgym, so that it loads in the peer's environment too.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import random
import resource
import string
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PROMPTS, SAMPLES = 32, 8
PROMPT, NEW, VOCAB = 200, 128, 512
"""Tokens of a prompt, tool definitions included; most tokens the policy samples in an episode; vocabulary."""
CALLS = 1
"""Tool calls of an episode in the case `calculator`."""
QUESTIONS = "questions.json"
LR = 1e-6
EOS = "<|im_end|>"
CALL = '<tool_call>{{"name": "calculator", "arguments": {{"expression": "{}"}}}}</tool_call>'
CHAT_TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}{% endfor %}"
    "<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for call in m.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def calculator(expression: str) -> str:
    """Add up.

    Args:
        expression: Numbers with + between them.
    """
    return str(sum(int(number) for number in expression.split("+")))


def tool_definition() -> str:
    """The calculator as the chat template shows it."""
    from transformers.utils import get_json_schema

    return json.dumps(get_json_schema(calculator), ensure_ascii=False)


def make_tokenizer() -> Any:
    """Byte-level BPE of 512 entries, every digit one token, ChatML with tools."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=["<|endoftext|>", "<|im_start|>", EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    chat = ["system\n", "user\n", "assistant\n", "tool\n", CALL.format("1+2"), tool_definition()] * 1000
    bpe.train_from_iterator([inspect.getsource(argparse), *chat], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=EOS,
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def make_model(folder: Path) -> None:
    """Save a 0.85M-parameter Qwen2 with random weights, and its tokenizer."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    config = Qwen2Config(
        vocab_size=VOCAB,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        max_position_embeddings=2048,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load(folder: Path) -> tuple[Any, Any]:
    """Model (float32) and tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    return AutoModelForCausalLM.from_pretrained(folder, dtype="float32"), AutoTokenizer.from_pretrained(folder)


def render(tokenizer: Any, messages: list[dict[str, str]], tool: bool) -> list[int]:
    """The prompt's ids."""
    ids: list[int] = tokenizer.apply_chat_template(
        messages,
        tools=[calculator] if tool else None,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=False,
    )
    return ids


def questions(tokenizer: Any, tool: bool, n: int, seed: int) -> Iterator[str]:
    """User messages of random digits: with all that the template adds, PROMPT tokens."""
    rng = random.Random(seed)
    digits = PROMPT - len(render(tokenizer, [{"role": "user", "content": ""}], tool))
    assert digits > 0, f"the prompt has no room: {digits}"
    for _ in range(n):
        yield "".join(rng.choices(string.digits, k=digits))


def write_questions(folder: Path, tool: bool, n: int) -> None:
    """For all contestants alike."""
    _, tokenizer = load(folder)
    (folder / QUESTIONS).write_text(json.dumps(list(questions(tokenizer, tool, n, seed=0))))


def read_questions(folder: Path) -> list[str]:
    """What `write_questions` wrote."""
    found: list[str] = json.loads((folder / QUESTIONS).read_text())
    return found


def teach(folder: Path) -> None:
    """Teach the model to call the calculator in its first CALLS turns and then to write at random, and save it."""
    import torch

    model, tokenizer = load(folder)
    steps, rows, lr = 150, 4, 5e-3
    rng = random.Random(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.0)
    plain = sorted(set(range(len(tokenizer))) - set(tokenizer.all_special_ids))
    texts = questions(tokenizer, True, rows * steps, seed=-1)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, (step + 1) / 10, 2 * (1 - step / steps))
        episodes = [_episode(tokenizer, next(texts), plain, rng) for _ in range(rows)]
        ids, weights = (torch.tensor([row[i] for row in episodes]) for i in (0, 1))
        logits = model(input_ids=ids).logits[:, :-1].flatten(0, 1)
        losses = torch.nn.functional.cross_entropy(logits, ids[:, 1:].flatten(), reduction="none")
        loss = (losses * weights[:, 1:].flatten()).sum() / rows
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)


def _episode(tokenizer: Any, question: str, plain: list[int], rng: random.Random) -> tuple[list[int], list[float]]:
    """ids, and what each weighs in the loss: a call's 1, those written at random together 1, others 0."""
    ids = render(tokenizer, [{"role": "user", "content": question}], True)
    weights = [0.0] * len(ids)
    left = NEW
    for _ in range(CALLS):
        expression = f"{rng.randint(10, 49)}+{rng.randint(10, 49)}"
        call = tokenizer.encode(CALL.format(expression) + EOS)
        answer = tokenizer.encode(f"\n<|im_start|>tool\n{calculator(expression)}{EOS}\n<|im_start|>assistant\n")
        ids += call + answer
        weights += [1.0] * len(call) + [0.0] * len(answer)
        left -= len(call)
    return ids + rng.choices(plain, k=left), weights + [1 / left] * left


class Steps:
    """The conversation with the benchmark: waits to be told to take a step, and tells how it went."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what libraries print goes elsewhere
        self._started = 0.0

    def wait(self) -> str:
        """What was asked for; the clock starts. Ends the process when nothing more is wanted."""
        line = sys.stdin.readline()
        if not line:
            os._exit(0)
        self.start_clock()
        return line.strip()

    def start_clock(self) -> None:
        """The step begins only now."""
        self._started = time.perf_counter()

    def tell(self, **facts: float | str) -> None:
        """Seconds since the clock started, peak memory (MB), and `facts`."""
        seconds = time.perf_counter() - self._started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "peak": peak, **facts}), file=self._answers, flush=True)


def start(run: Callable[[Steps, Path, bool, int], None]) -> None:
    """A contestant's main: `python FILE FOLDER CASE THREADS STEPS`. `run` takes the steps when it is told to."""
    import torch

    folder, name, threads, steps = sys.argv[1:]
    torch.set_num_threads(int(threads))
    run(Steps(), Path(folder), name == "calculator", int(steps))
