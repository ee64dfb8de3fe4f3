"""TRL's contestant: `GRPOTrainer` with its own generation, and its `tools=` in the case `calculator`."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import case
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from trl.chat_template_utils import qwen3_template

ROWS = 32
"""Sequences in one forward pass of the update: 256 took longer and 5 GB."""


class Asked(TrainerCallback):  # type: ignore[misc]
    """Takes a step whenever it is told to."""

    trainer: Any

    def __init__(self, steps: case.Steps) -> None:
        self.steps = steps

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.steps.wait()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        last = {name: values[-1] for name, values in self.trainer._metrics["train"].items()}
        self.steps.tell(
            rollout=self.trainer.seconds_rollout,
            sampled=last["completions/mean_length"],
            calls=last.get("tools/call_frequency", 0.0) * (1 - last.get("tools/failure_frequency", 0.0)),
        )
        self.steps.wait()


class Trainer(GRPOTrainer):  # type: ignore[misc]
    """Notes how long the rollouts took."""

    seconds_rollout = 0.0

    def _generate(self, prompts: Any) -> Any:
        started = time.perf_counter()
        result = super()._generate(prompts)
        self.seconds_rollout = time.perf_counter() - started
        return result


def luck(completions: list[Any], **_: Any) -> list[float]:
    """The reward."""
    return [random.random() for _ in completions]


def run(steps: case.Steps, folder: Path, tool: bool, count: int) -> None:
    """`count` steps at TRL's defaults, in float32 and without gradient checkpointing, reports and checkpoints."""
    model, tokenizer = case.load(folder)
    tokenizer.response_template = qwen3_template  # how the tool calls of this chat template are read
    heard = len(case.render(tokenizer, [{"role": "tool", "content": "55"}], False)) + 1 if tool else 0
    config = GRPOConfig(
        output_dir=str(folder / "trl"),
        use_cpu=True,
        bf16=False,
        per_device_train_batch_size=ROWS,
        gradient_accumulation_steps=case.PROMPTS * case.SAMPLES // ROWS,
        num_generations=case.SAMPLES,
        max_completion_length=case.NEW + case.CALLS * heard,  # TRL counts what the tool says, too
        max_steps=count,
        learning_rate=case.LR,
        gradient_checkpointing=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=1,
    )
    asked = Asked(steps)
    trainer = Trainer(
        model=model,
        processing_class=tokenizer,
        reward_funcs=luck,
        args=config,
        train_dataset=Dataset.from_list(
            [{"prompt": [{"role": "user", "content": text}]} for text in case.read_questions(folder)]
        ),
        tools=[case.calculator] if tool else None,
        callbacks=[asked],
    )
    asked.trainer = trainer
    trainer.train()


if __name__ == "__main__":
    case.start(run)
