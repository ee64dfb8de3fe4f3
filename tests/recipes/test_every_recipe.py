"""What holds for each recipe file."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from agentgym.config import build

NAMES = sorted(
    f.name.removesuffix(".toml") for f in files("agentgym.trainers.recipes").iterdir() if f.name.endswith(".toml")
)


@pytest.mark.parametrize("name", NAMES)
def test_every_part_exists_with_the_fields_it_is_given(name, read_recipe):
    recipe = read_recipe(name)
    assert recipe["description"]
    assert recipe["stages"]
    for table in recipe["stages"]:
        for kind, key in (("signal", "signals"), ("credit", "credit"), ("loss", "losses")):
            for spec in table.get(key, []):
                build(kind, spec)
        build("sampler", table["sampler"])
        build("rollout", table["rollout"])


@pytest.mark.parametrize("name", NAMES)
def test_has_a_worked_example(name):
    assert (Path(__file__).parent / f"test_{name}.py").is_file()
