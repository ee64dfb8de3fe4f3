"""Folders of weights for who loads them: which there are while others are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agentgym.engines.exported import Exported
from agentgym.models.load import Lora, load_policy


def test_of_a_whole_model_there_are_three_at_most(tmp_path: Path) -> None:
    """That it began with, the one in use, and the one that is being written."""
    seen = []

    class Watched(Exported):
        def write(self, model: Any, folder: Path) -> None:
            super().write(model, folder)
            seen.append(len(list(self.root.glob("*/model.safetensors"))))

    model, _ = load_policy("nano", seed=0)
    exported = Watched(model, str(tmp_path))
    for version in range(1, 6):
        exported.write_again(model, version)
    assert seen == [1, 2, 3, 3, 3, 3]
    exported.close()


def test_adapters_stay_as_long_as_somebody_uses_them(tmp_path: Path) -> None:
    model, _ = load_policy("nano", seed=0, lora=Lora(rank=2))
    exported = Exported(model, str(tmp_path))

    def there() -> list[str]:
        return sorted(folder.name for folder in exported.root.glob("v*"))

    exported.write_again(model, 1)
    exported.write_again(model, 2)
    exported.write_again(model, 3, used={"v1"})
    assert there() == ["v1", "v2", "v3"]
    exported.write_again(model, 4, used={"v1"})
    assert there() == ["v1", "v3", "v4"]
    exported.write_again(model, 5)
    assert there() == ["v4", "v5"]
    exported.close()
    assert not list(tmp_path.iterdir())
