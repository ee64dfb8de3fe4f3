"""`agentgym plan`: what a run needs of GPUs and how fast it may be, before anyone pays for them.

Memory is arithmetic on the model's shape. Speed is a roofline: what the GPU could do, times the shares of it that
training and sampling usually reach.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentgym.clusters.single import Single
from agentgym.config import build
from agentgym.errors import ConfigError, did_you_mean
from agentgym.ranges import at_least

if TYPE_CHECKING:
    from agentgym.trainers.settings import Settings

OF_FLOPS, OF_BANDWIDTH = 0.4, 0.7
"""Shares that training reaches of the peak in multiplying, and sampling of that in reading memory."""
LAUNCH = 0.006
"""Seconds that a decode step takes however small the model is."""
LOGITS = 10 * 2**25
"""Bytes of the logits that are there at a time: see trainers/token_stats.py."""
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Gpu:
    """memory: GiB. bandwidth: TB/s. flops: dense bfloat16, TFLOP/s. The vendor's data sheets."""

    memory: float
    bandwidth: float
    flops: float


GPUS = {
    "B200": Gpu(180, 8.0, 2250),
    "H200": Gpu(141, 4.8, 989),
    "H100": Gpu(80, 3.35, 989),
    "A100": Gpu(80, 2.0, 312),
    "A100-40": Gpu(40, 1.55, 312),
    "L40S": Gpu(48, 0.86, 362),
    "L4": Gpu(24, 0.3, 121),
    "RTX-4090": Gpu(24, 1.0, 165),
}


@dataclass(frozen=True)
class Hardware:
    """gpus: how many. gpu: which, by its name in the table."""

    gpus: int = 1
    gpu: str = "H100"

    def __post_init__(self) -> None:
        at_least(self, 1, "gpus")

    @property
    def card(self) -> Gpu:
        """Raises ConfigError for one that is not in the table."""
        return find_gpu(self.gpu)


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder's. trained: parameters that learn. kv_bytes: of the cache, for a token, in two bytes a number.
    outer: parameters of the embedding and of the head, one where they are tied."""

    parameters: int
    trained: int
    layers: int
    hidden: int
    intermediate: int
    kv_bytes: int
    max_len: int
    outer: int

    @classmethod
    def of(cls, name: str, lora_rank: int) -> Shape:
        """From the model's configuration alone; its weights are neither read nor made."""
        from agentgym.models.load import hollow

        model = hollow(name)
        config = model.config.get_text_config()
        heads = config.num_attention_heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
        kv_heads = getattr(config, "num_key_value_heads", None) or heads
        parameters = sum(weight.numel() for weight in model.parameters())
        matrices = [weight.shape for n, weight in model.named_parameters() if weight.ndim == 2 and "layers" in n]
        adapters = lora_rank * sum(rows + columns for rows, columns in matrices)
        return cls(
            parameters,
            adapters or parameters,
            config.num_hidden_layers,
            config.hidden_size,
            config.intermediate_size,
            4 * config.num_hidden_layers * kv_heads * head_dim,
            config.max_position_embeddings,
            sum({id(w): w.numel() for w in _ends(model)}.values()),
        )


def _ends(model: Any) -> tuple[Any, Any]:
    return model.get_input_embeddings().weight, model.get_output_embeddings().weight


@dataclass(frozen=True, slots=True)
class Plan:
    """Of one GPU, in bytes: learner, engine (weights of its own), cache (room for keys and values; below 0 where
    there is none). sequences: of full length that the cache holds. sampled, trained: tokens a second over all
    GPUs. step: seconds. lighter: settings, not made yet, that take less memory."""

    learner: dict[str, float]
    engine: float
    cache: float
    sequences: int
    sampled: float
    trained: float
    step: float
    lighter: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether there is room for at least one sequence."""
        return self.sequences >= 1


def find_gpu(name: str) -> Gpu:
    """Raises ConfigError for one that is not in the table."""
    known = {key.lower(): gpu for key, gpu in GPUS.items()}
    if name.lower() not in known:
        raise ConfigError(f"gpu={name}: {did_you_mean(name, GPUS)}")
    return known[name.lower()]


def learner_bytes(shape: Shape, settings: Settings, gpus: int) -> dict[str, float]:
    """Of one GPU. With `shard`, gradients and states are parts at full precision; two layers are gathered at a
    time, and embedding and head with their gradients, narrow and wide. Without, each GPU has all of them.
    Activations are those of a microbatch. The reference is what losses compare the policy to: a copy of what
    learns, or a sharded one of everything."""
    state = 8 if settings.optimizer == "adamw" else 4
    per_token = 2 * (10 * shape.hidden + 3 * shape.intermediate)
    kept = 2 * shape.hidden * shape.layers + per_token if settings.gradient_checkpointing else None
    trained, frozen = (4 + state) * shape.trained, 4 * (shape.parameters - shape.trained)
    shards = settings.shard and gpus > 1
    losses = [build("loss", loss) for stage in settings.stages for loss in stage.losses]
    refers = any(loss.needs_reference and loss.coef for loss in losses)
    reference = 4 * shape.parameters / gpus if shards else 2 * shape.trained
    gathered = 4 * (shape.parameters - shape.outer) / shape.layers + 8 * shape.outer
    return {
        "weights": 2 * shape.parameters + (gathered if shards else 0),
        "gradients": 4 * shape.trained / (gpus if shards else 1),
        "masters and optimiser": (trained + max(0, frozen)) / gpus if shards else trained,
        "activations": settings.microbatch_tokens * (shape.layers * per_token if kept is None else kept),
        "logits": LOGITS,
        "reference": reference if refers else 0.0,
    }


def make_plan(shape: Shape, settings: Settings, gpu: Gpu, gpus: int, engine: dict[str, Any]) -> Plan:
    """engine: its name, and fields of which tensor_parallel_size, max_len, max_sequences and
    gpu_memory_utilization count. Without max_len, prompt and tools say as much as the policy may. A process for
    each GPU, or one whose engine has them all and whose learner has the first. Raises ConfigError for what this
    is not."""
    parallel = int(engine.get("tensor_parallel_size", 1))
    _check_kind(settings, gpus, engine.get("name"), parallel)
    length = min(int(engine.get("max_len") or 2 * settings.max_completion_tokens), shape.max_len)
    processes = gpus // parallel
    learner = learner_bytes(shape, settings, processes)
    weights, room = 2 * shape.parameters / parallel, 0.92 * gpu.memory * GIB
    left = room - sum(learner.values())
    if engine.get("name") == "vllm":  # it takes its share, whatever the learner leaves
        share = float(engine.get("gpu_memory_utilization", 0.5)) * gpu.memory * GIB
        own, cache = weights, share - weights if share <= left else left - share
    else:  # the engine samples with the learner's own weights
        own, cache = 0.0, left
    sequences = max(0, int(cache * parallel / (shape.kv_bytes * length)))
    episodes = max(
        (stage.batch_size or settings.batch_size) * (stage.group_size or settings.group_size)
        for stage in settings.stages
    )
    asked = -(-episodes // processes)
    together = max(1, min(asked, sequences, int(engine.get("max_sequences", 256))))
    read = weights + together * (length / 2) * shape.kv_bytes / parallel
    multiply = 2 * shape.parameters * together / parallel
    tick = LAUNCH + max(read / (gpu.bandwidth * 1e12 * OF_BANDWIDTH), multiply / (gpu.flops * 1e12 * OF_FLOPS))
    passes = 4 if settings.gradient_checkpointing else 3
    trained = processes * gpu.flops * 1e12 * OF_FLOPS / (2 * passes * shape.parameters)
    sampled = processes * together / tick
    tokens = episodes * settings.max_completion_tokens
    parts = (tokens / sampled, tokens / trained)
    step = max(parts) if settings.max_staleness else sum(parts)
    return Plan(learner, own, cache, sequences, sampled, trained, step, _lighter(settings, own > 0))


def _check_kind(settings: Settings, gpus: int, engine: object, parallel: int) -> None:
    """Raises ConfigError for a run that is laid out in another way."""
    if engine == "openai":
        raise ConfigError(
            "plan: with engine=openai it is the server's GPUs that sample; plan engine=torch to learn"
        )
    if not isinstance(build("cluster", settings.cluster), Single):
        raise ConfigError("plan: with a cluster the learner has one GPU to itself: plan gpus=1 without it")
    if parallel not in (1, gpus):
        raise ConfigError(
            f"engine.tensor_parallel_size={parallel}: one process has that many GPUs, and each of several "
            f"has one; gpus={gpus} is neither"
        )


def _lighter(settings: Settings, takes_share: bool) -> tuple[str, ...]:
    said = {
        "shard=true on several GPUs": settings.shard,
        "gradient_checkpointing=true": settings.gradient_checkpointing,
        "lora.rank=16": settings.lora.rank,
        "a lower microbatch_tokens": False,
        "a lower engine.gpu_memory_utilization": not takes_share,
    }
    return tuple(text for text, already in said.items() if not already)
