"""A policy by name: `nano`, a preset of it, or any Hugging Face causal LM by path or id."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentgym.errors import ConfigError
from agentgym.models import nano

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


_ADAPTER = "adapter_config.json"
_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")


@dataclass(frozen=True, slots=True)
class Lora:
    """Low-rank adapters through peft. rank: 0 trains all weights. alpha: they count alpha / rank times.
    dropout: of what goes into them. targets: module name endings."""

    rank: int = 0
    alpha: float = 32.0
    dropout: float = 0.0
    targets: list[str] | str = "all-linear"


def resolve_device(device: str) -> str:
    """`auto` is CUDA where there is one; an absent device is an error."""
    import torch

    available = torch.cuda.is_available()
    if device == "auto":
        return "cuda" if available else "cpu"
    if device.startswith("cuda") and not available:
        raise ConfigError("device=cuda: torch finds no CUDA device; `agentgym doctor` says what is there. Use cpu")
    if device.split(":")[0] not in ("cpu", "cuda"):
        raise ConfigError(f"device={device}: known are auto, cpu, cuda, cuda:N")
    return device


def repeat_exactly(device: str) -> None:
    """Have a GPU compute the same bits each time, as far as torch can; it warns of the rest. A CPU does anyway."""
    import torch

    if device.startswith("cuda"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA is first used
        torch.use_deterministic_algorithms(True, warn_only=True)


def load_policy(
    name: str, *, seed: int, device: str = "cpu", dtype: str = "auto", lora: Lora | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model (without dropout) and tokenizer. dtype auto: float32, on CUDA bfloat16. Adapters saved by an earlier
    run are merged into the model they were trained on.

    Raises ConfigError when the path holds no model or no tokenizer.
    """
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    random.seed(seed)
    torch.manual_seed(seed)
    tokenizer = load_tokenizer(name)
    model = nano.model(seed, name) if name in nano.TOKENIZERS else _from_hub(name)
    model = convert(model, device, resolve_dtype(dtype, device))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):  # the policy that learns is the one that was sampled
            module.p = 0.0
    if lora and lora.rank:
        model = _with_lora(model, lora)
    return model, tokenizer


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer alone. Raises ConfigError when there is none."""
    if name in nano.TOKENIZERS:
        return nano.tokenizer(name)
    check_model(name)
    try:
        return _tokenizer(name)
    except Exception as error:
        raise ConfigError(f"model={name}: no tokenizer could be loaded: {_first_line(error)}") from error


def resolve_dtype(dtype: str, device: str) -> torch.dtype:
    """float32 on a CPU, bfloat16 on CUDA, or what was asked for."""
    import torch

    known = {
        "float32": torch.float32,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
        "float64": torch.float64,
    }
    if dtype == "auto":
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    if dtype not in known:
        raise ConfigError(f"dtype={dtype}: known are auto, {', '.join(known)}")
    return known[dtype]


def convert(model: Any, device: str | torch.device, dtype: torch.dtype) -> Any:
    """The model itself, its weights in `dtype` and all of it on `device`. Buffers stay as exact as they were:
    rounded to bfloat16, frequencies of rotary embeddings are wrong by radians after some thousand tokens."""
    for weight in model.parameters():
        weight.data = weight.data.to(dtype)
    return model.to(device)


def check_model(name: str) -> None:
    """Raises ConfigError for a path that holds no model or no tokenizer. Loads nothing."""
    path = Path(name)
    if name in nano.TOKENIZERS:
        return
    if path.exists():
        if not any((path / file).is_file() for file in ("config.json", _ADAPTER)):
            raise ConfigError(
                f"model={name}: no config.json there; a model is a directory in Hugging Face's layout"
            )
        if not any((path / file).is_file() for file in _VOCABULARIES):
            raise ConfigError(f"model={name}: no tokenizer there; it has none of {', '.join(_VOCABULARIES)}")
    elif name.startswith((".", "/", "~")) or name.count("/") != 1 or path.parent.is_dir():
        raise ConfigError(
            f"model={name}: no such directory. Use {', '.join(nano.TOKENIZERS)}, a path, or a Hugging Face id "
            "(owner/name)"
        )


def hollow(name: str) -> PreTrainedModel:
    """The model without numbers in it, from its configuration alone. Raises ConfigError as `load_policy` does."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    check_model(name)
    with torch.device("meta"):
        if name in nano.TOKENIZERS:
            return nano.model(0, name)
        try:
            return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(name))
        except Exception as error:
            raise ConfigError(f"model={name}: no model could be made: {_first_line(error)}") from error


def _from_hub(name: str) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    try:
        if (Path(name) / _ADAPTER).is_file():
            from peft import AutoPeftModelForCausalLM

            return AutoPeftModelForCausalLM.from_pretrained(name, dtype="auto").merge_and_unload()
        return AutoModelForCausalLM.from_pretrained(name, dtype="auto")
    except Exception as error:
        raise ConfigError(f"model={name}: no model could be loaded: {_first_line(error)}") from error


def _tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer exactly as it was saved: where it was saved as no family's own, transformers would still
    rebuild some (those of Qwen2 models) with their family's way of cutting text, and give other ids."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    plain = get_tokenizer_config(name).get("tokenizer_class") in ("TokenizersBackend", "PreTrainedTokenizerFast")
    loader: Any = PreTrainedTokenizerFast if plain else AutoTokenizer
    tokenizer: PreTrainedTokenizerBase = loader.from_pretrained(name)
    return tokenizer


def _with_lora(model: PreTrainedModel, lora: Lora) -> Any:
    from peft import LoraConfig, get_peft_model

    return get_peft_model(
        model,
        LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=lora.targets),
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
