"""Everything `agentgym train` can be told. Keys use the field's names; a recipe sets them, the user overrides."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from agentgym.config import Spec
from agentgym.models.load import Lora
from agentgym.ranges import above, at_least, within
from agentgym.trainers.base import Packing, Reduction

Schedule = Literal["constant", "linear"]

_AT_LEAST = {
    **dict.fromkeys(("batch_size", "group_size", "max_steps", "minibatches", "microbatch_tokens"), 1),
    **dict.fromkeys(("max_completion_tokens", "concurrency", "eval_tasks"), 1),
    **dict.fromkeys(("temperature", "eval_temperature", "top_k", "retries", "warmup_steps"), 0),
    **dict.fromkeys(("weight_decay", "eval_every", "save_every", "keep_checkpoints", "max_staleness"), 0),
}


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of a recipe. What is None comes from the settings.

    name: in settings (`stages.NAME.lr`) and evaluations. rollout: the strategy that plays the tasks. steps,
    batch_size, group_size, lr: as a run's. signals, credit, sampler, losses: components, by name or table.
    lr_schedule: after the warm-up, constant, or linear to 0 at the stage's end.
    reduction: how per-token losses become one number. constant_length: the divisor of reduction="constant".
    pool: groups played once at the start and then learned from again and again (demonstrations); 0 plays anew
    for every step. agents: whose turns are learned from, where an environment has several speakers; empty: all of
    theirs that the policy plays.
    """

    name: str
    rollout: Spec = "independent"
    steps: int | None = None
    batch_size: int | None = None
    group_size: int | None = None
    lr: float | None = None
    lr_schedule: Schedule = "constant"
    signals: list[Spec] = field(default_factory=list)
    credit: list[Spec] = field(default_factory=list)
    sampler: Spec = "uniform"
    losses: list[Spec] = field(default_factory=list)
    reduction: Reduction = "token_mean"
    constant_length: int | None = None
    pool: int = 0
    agents: list[str] = field(default_factory=list)

    also_called: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("n", "num_generations"), "group_size"),
        **{"learning_rate": "lr", "max_steps": "steps", "loss": "losses", "algorithm": "losses"},
    }
    """As in Settings."""

    def __post_init__(self) -> None:
        if not self.losses:
            raise ValueError(f"stage {self.name!r} has no losses: nothing would be learned")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"stage {self.name!r}: steps must be at least 1, not {self.steps}")
        if self.reduction == "constant" and not self.constant_length:
            raise ValueError(f"stage {self.name!r}: reduction 'constant' needs constant_length (tokens)")


@dataclass(frozen=True)
class Settings:
    """A training run.

    recipe: a built-in one or a .toml file; all else is on top of it. description: its own, in a line. env, engine,
    cluster: components, by name or table. model: `nano` and its kin, a folder, a run's folder, or a Hugging Face
    id.
    device: auto is CUDA where there is one. dtype: of the model that learns; auto is float32 on a CPU and bfloat16
    on CUDA. lora: adapters learn in place of the whole model where its rank is above 0.
    partners: models that speak in the policy's place where an environment has several speakers, by agent; frozen,
    and with the policy's vocabulary. They are named as `model` is.
    seed: of tasks, samples and the built-in model. deterministic: runs can be repeated to the bit, and take
    longer.

    batch_size: prompts per step. group_size: trajectories per prompt. max_steps: steps of a stage that sets none.
    minibatches: optimiser steps per batch. microbatch_tokens: tokens computed in a forward pass.
    packing: "tree" computes what trajectories share once; "flat" gives each a row of its own, for models whose
    attention cannot be told what to attend to.
    shard: whether the processes of a run keep a part each of weights, gradients and the optimiser's state, and not
    all of them (see docs/several_gpus.md); says nothing to a single process.
    gradient_checkpointing: activations are computed a second time instead of kept.

    optimizer: `muon` is for matrices between embedding and head, with AdamW for the rest. lr: the rate after
    warmup_steps of a rising one. adam_beta2, weight_decay: the optimiser's. max_grad_norm: that gradients are cut
    to.

    temperature, top_p, top_k: of what is sampled to learn from (top_k 0: all tokens); eval_temperature: of
    evaluations. max_completion_tokens: tokens the policy may sample in one trajectory.
    max_staleness: updates that may happen between the sampling of a token and the learning from it. 0: rollouts
    and updates take turns; more: so many batches are played beside the one that is learned from next.
    concurrency: episodes at once. episode_timeout: seconds that one may take, with all its waiting for the engine.
    retries: how often one that the machinery failed is played again. max_error_frac: share of failed episodes
    above which the run stops.

    eval_every, save_every: steps; 0 means at the end of each stage only. eval_tasks: of an evaluation.
    keep_checkpoints: the newest that are kept, and the one that a stage's losses compare with; 0: all.
    output_dir: of all runs. run_name: this one's folder in it; empty: named by the environment and the time.
    resume: go on with the run of that name, or with the newest; one of a name that is new begins.

    stages: the parts of the run, in order, each a Stage.
    """

    recipe: str = "retool"
    description: str = ""
    env: Spec = "retool"
    model: str = "nano"
    engine: Spec = "torch"
    cluster: Spec = "single"
    device: str = "auto"
    dtype: str = "auto"
    lora: Lora = field(default_factory=Lora)
    partners: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    deterministic: bool = False

    batch_size: int = 32
    group_size: int = 8
    max_steps: int = 100
    minibatches: int = 1
    microbatch_tokens: int = 16384
    packing: Packing = "tree"
    shard: bool = False
    gradient_checkpointing: bool = False

    optimizer: Literal["adamw", "muon"] = "adamw"
    lr: float = 1e-6
    warmup_steps: int = 0
    weight_decay: float = 0.0
    adam_beta2: float = 0.999
    max_grad_norm: float = 1.0

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_completion_tokens: int = 4096

    max_staleness: int = 0
    concurrency: int = 512
    episode_timeout: float = 1800.0
    retries: int = 1
    max_error_frac: float = 0.25

    eval_every: int = 0
    eval_tasks: int = 256
    eval_temperature: float = 1.0
    save_every: int = 0
    keep_checkpoints: int = 0
    output_dir: str = "runs"
    run_name: str = ""
    resume: bool = False

    stages: list[Stage] = field(default_factory=list)

    also_called: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("learning_rate", "actor_lr"), "lr"),
        **dict.fromkeys(("n", "num_generations", "rollout_n", "samples_per_prompt"), "group_size"),
        **dict.fromkeys(("train_batch_size", "per_device_train_batch_size", "rollout_batch_size"), "batch_size"),
        **dict.fromkeys(("max_tokens", "max_new_tokens", "max_completion_length"), "max_completion_tokens"),
        **dict.fromkeys(("max_response_length", "response_length"), "max_completion_tokens"),
        **dict.fromkeys(("steps", "num_steps", "total_training_steps"), "max_steps"),
        **dict.fromkeys(("model_name", "model_path", "model_name_or_path"), "model"),
        **dict.fromkeys(("total_epochs", "num_train_epochs", "epochs"), "max_steps"),
        **dict.fromkeys(("gradient_accumulation_steps", "ppo_micro_batch_size_per_gpu"), "microbatch_tokens"),
        **dict.fromkeys(("beta", "kl_coef", "kl_loss_coef", "use_kl_loss", "entropy_coeff"), "stages.NAME.losses"),
        **dict.fromkeys(("clip_ratio", "clip_ratio_high", "epsilon", "epsilon_high"), "stages.NAME.losses"),
        **dict.fromkeys(("adv_estimator", "scale_rewards"), "stages.NAME.credit"),
        **{"lora_r": "lora.rank", "lora_rank": "lora.rank", "lora_alpha": "lora.alpha"},
        **{"eval_steps": "eval_every", "save_steps": "save_every", "name": "run_name", "bf16": "dtype"},
        **{"loss_agg_mode": "stages.NAME.reduction", "ppo_mini_batch_size": "minibatches"},
        **{"save_total_limit": "keep_checkpoints", "max_actor_ckpt_to_keep": "keep_checkpoints"},
    }
    """What other trainers call some of these, for the hint that answers it."""

    def __post_init__(self) -> None:
        for name, lowest in _AT_LEAST.items():
            at_least(self, lowest, name)
        above(self, 0, "lr", "max_grad_norm", "episode_timeout")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], not {self.top_p}")
        if not 0 <= self.adam_beta2 < 1:
            raise ValueError(f"adam_beta2 must be in [0, 1), not {self.adam_beta2}")
        within(self, 0, 1, "max_error_frac")
        if self.deterministic and self.max_staleness:
            raise ValueError(
                "deterministic needs max_staleness=0: what is sampled beside an update depends on its speed"
            )
        if self.shard and self.optimizer == "muon":
            raise ValueError(
                "optimizer=muon needs whole matrices, and shard=true keeps parts of them: say optimizer=adamw"
            )
        if not self.run_name.isprintable() or set(self.run_name) & {"/", "\\"} or self.run_name in (".", ".."):
            raise ValueError(f"run_name must be a plain folder name, not {self.run_name!r}; see output_dir")
