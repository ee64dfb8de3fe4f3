"""The learner's weights as a folder in Hugging Face's layout, in memory, for who loads weights from folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from agentgym.engines.memory_folder import memory_folder
from agentgym.parallel import Peers


class Exported:
    """folder: the model; with peft adapters, the model that they adapt. shared: where it lies, if not in memory.

    The output layer is written beside the embedding also where both are one: a server that has prepared it for its
    kernels would not see it change.
    """

    def __init__(self, model: Any, shared: str = "") -> None:
        self.adapts = hasattr(model, "peft_config")
        size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
        need = 4 * size * Peers.here  # as it began, twice in a change, and what is tied
        self.root = memory_folder("agentgym-weights-", need, shared)
        self.folder = self.root / "model"
        self.write(model, self.folder)

    def write(self, model: Any, folder: Path) -> None:
        """The model as it is now."""
        from safetensors.torch import save_file

        base = model.get_base_model() if self.adapts else model
        state = {
            name.replace(".base_layer.", "."): weight
            for name, weight in base.state_dict().items()
            if ".lora_" not in name
        }
        # In one file without an index, so that the output layer's can lie beside it.
        base.save_pretrained(folder, state_dict=state, max_shard_size="100TB")
        head = base.get_output_embeddings()
        if base.config.tie_word_embeddings:
            save_file({"lm_head.weight": head.weight.detach().clone()}, folder / "lm_head.safetensors")
            file = folder / "config.json"
            config = json.loads(file.read_text(encoding="utf-8")) | {"tie_word_embeddings": False}
            file.write_text(json.dumps(config), encoding="utf-8")

    def write_again(self, model: Any, version: int, used: Collection[str] = ()) -> Path:
        """A folder with the model, or with its adapters, as they are now. Older ones go before, but for the last
        and for those in `used`, by name."""
        keep = {f"v{version - 1}", *used}
        for old in self.root.glob("v*"):
            if old.name not in keep:
                shutil.rmtree(old)
        folder = self.root / f"v{version}"
        if self.adapts:
            model.save_pretrained(folder)
        else:
            self.write(model, folder)
        return folder

    def close(self) -> None:
        """Remove the folders."""
        shutil.rmtree(self.root, ignore_errors=True)
