"""From recipe, files and overrides to settings: later layers change earlier ones, table by table."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentgym.config import convert, merge, name_of, read_toml, to_table
from agentgym.errors import ConfigError, did_you_mean
from agentgym.models import nano
from agentgym.trainers.checkpoint import config_of_run, model_path
from agentgym.trainers.settings import Settings, Stage

logger = logging.getLogger(__name__)

STAGES_OWN = {"max_steps": "steps", "batch_size": "batch_size", "group_size": "group_size", "lr": "lr"}
"""Settings that stages may have for themselves, and what these call them."""

FOR_ANY_MODEL = "grpo"
"""The recipe of a run that names none, with a model that follows instructions."""

PLACE = ("output_dir", "run_name", "resume")
"""Settings that say which run is meant."""

FIXED = ("recipe", "model", "env", "lora", "optimizer")
"""Settings that make a run the one it is, and that its checkpoints depend on."""

PLAYING = ("env", "partners", "max_completion_tokens", "temperature", "eval_temperature", "top_p", "top_k")
"""Settings that a checkpoint is played with as it was in its own run, where nobody says what it is to play."""

BRANCHING = ("initial_rollouts", "beam_size", "branch_probability", "entropy_weight")
"""Settings of the rollout `entropy_branching`, under the names that ARPO gives them."""


def recipes() -> dict[str, Path]:
    """The built-in recipes by name."""
    folder = Path(__file__).parent / "trainers" / "recipes"
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def find_place(layers: Sequence[Mapping[str, Any]]) -> Settings:
    """Where the run is, and nothing else of it: what else there is may be on top of what it was begun with."""
    found: dict[str, Any] = {}
    for layer in layers:
        found |= {key: layer[key] for key in PLACE if key in layer}
    return convert(Settings, found, "settings")


def as_in_its_run(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How a run's checkpoint was played there, as a layer below the others; empty where `model` is none, or where
    these say what it is to play."""
    model = next((str(layer["model"]) for layer in reversed(layers) if "model" in layer), Settings.model)
    if any(_names_env(layer) or {"recipe", "tools"} & layer.keys() for layer in layers):
        return {}
    file = config_of_run(model)
    if file is None:
        return {}
    begun = read_toml(file, "run")
    logger.info("%s: played as in its run, env=%s", model, name_of(begun["env"]))
    return {key: begun[key] for key in PLAYING if key in begun}


def merge_layers(layers: Sequence[Mapping[str, Any]], slips: bool) -> Settings:
    """A recipe, then the layers, each on top of the one before. Raises ConfigError."""
    layers = [*layers]
    recipe = [layer["recipe"] for layer in layers if "recipe" in layer]
    if any("tools" in layer for layer in layers) and not any(map(_names_env, layers)):
        layers.insert(0, {"env": "tool_agent"})
    name = str(recipe[-1]) if recipe else _own_recipe(layers)
    recipe_layer = read_toml(recipe_file(name), "recipe")
    layers.insert(0, {**(recipe_layer if slips else _without_slips(recipe_layer)), "recipe": name})
    table: dict[str, Any] = {"stages": []}
    for layer in layers:
        stages = _merge_stages(table["stages"], layer.get("stages", {}))
        table = {**merge(table, layer), "stages": stages}
    for key in ("max_turns", "sandbox", "tools"):
        if key in table:
            table = merge(table, {"env": {key: table.pop(key)}})
    rollout = table.pop("rollout", {})
    branching = {key: table.pop(key) for key in BRANCHING if key in table}
    stages = table["stages"]
    if rollout:
        stages = [merge(s, {"rollout": rollout}) if _rollout(s) != "demonstrations" else s for s in stages]
    if branching:
        stages = [merge(s, {"rollout": branching}) if _rollout(s) == "entropy_branching" else s for s in stages]
        if "entropy_branching" not in map(_rollout, stages):
            names = ", ".join(branching)
            raise ConfigError(f"{names}: no stage here has rollout entropy_branching; recipe=arpo has")
    return convert(Settings, {**table, "stages": stages}, "settings")


def check_used(overrides: Mapping[str, Any], stages: Sequence[Stage]) -> None:
    """Raises ConfigError for a setting that would change nothing, since every stage has its own."""
    for key, own in STAGES_OWN.items():
        if key in overrides and all(getattr(stage, own) is not None for stage in stages):
            have = ", ".join(f"stages.{stage.name}.{own}={getattr(stage, own)}" for stage in stages)
            raise ConfigError(f"{key}={overrides[key]} would change nothing: every stage has its own, {have}")


def check_resumed(stored: Path, settings: Settings) -> None:
    """Raises ConfigError where a run would go on as another than it was begun as. stored: its config.toml."""
    begun, told = read_toml(stored, "run"), to_table(settings)
    for key in FIXED:
        before, now = (_fixed(key, table.get(key)) for table in (begun, told))
        if key in begun and before != now:
            raise ConfigError(
                f"resume: {stored.parent} was begun with {key}={before}, not {now}; a new run can start from its "
                f"weights: model={stored.parent}"
            )


def _fixed(key: str, value: Any) -> Any:
    """As far as checkpoints depend on it."""
    if key == "env" and value:
        return name_of(value)
    return None if key == "lora" and value and not value["rank"] else value


def _names_env(layer: Mapping[str, Any]) -> bool:
    env = layer.get("env")
    return isinstance(env, str) or (isinstance(env, Mapping) and "name" in env)


def _own_recipe(layers: Sequence[Mapping[str, Any]]) -> str:
    """For the built-in policy the recipe that has the environment's name, or else the default; these are sized for
    it, and teach it first what other models know."""
    models = [layer["model"] for layer in layers if "model" in layer]
    if models and _follows_instructions(str(models[-1])):
        return FOR_ANY_MODEL
    name = next((name_of(layer["env"]) for layer in reversed(layers) if _names_env(layer)), "")
    return name if name in recipes() else Settings.recipe


def _follows_instructions(model: str) -> bool:
    """Whether it reads what it is told to do: all do but the built-in policy, whose configuration says so."""
    if model in nano.TOKENIZERS:
        return False
    try:
        config = json.loads((Path(model_path(model)) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # it is somewhere else, or nowhere, as whoever loads it will say
        return True
    return bool(config.get("follows_instructions", True))


def _rollout(stage: Mapping[str, Any]) -> str:
    """The name of a stage's rollout."""
    return name_of(stage.get("rollout", ""))


def _without_slips(table: dict[str, Any]) -> dict[str, Any]:
    """Without the rates of slips in demonstrations, of environments inside of others as well."""
    return {
        key: _without_slips(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if not key.startswith("demo_")
    }


def recipe_file(name: str) -> Path:
    """Of a built-in recipe, or of one's own, named by its file. Raises ConfigError for an unknown name."""
    if name.endswith(".toml"):
        return Path(name)
    known = recipes()
    stem = name.replace("-", "_")
    if stem not in known:
        raise ConfigError(f"unknown recipe {name!r}: {did_you_mean(stem, known)}")
    return known[stem]


def _merge_stages(stages: list[dict[str, Any]], given: Any) -> list[dict[str, Any]]:
    """`stages.rl.lr=1e-4` changes the stage of that name; a list replaces them all."""
    if isinstance(given, list):
        if not all(isinstance(stage, Mapping) and isinstance(stage.get("name"), str) for stage in given):
            raise ConfigError("stages: each of the list must be a table with a name")
        return given
    by_name = {stage["name"]: stage for stage in stages}
    if not isinstance(given, Mapping):
        raise ConfigError(f"stages={given!r}: say stages.NAME.key=value. Known: {', '.join(by_name)}")
    for name, changes in given.items():
        if name not in by_name:
            raise ConfigError(f"unknown stage {name!r}: {did_you_mean(name, by_name)}")
        if not isinstance(changes, Mapping):
            raise ConfigError(f"stages.{name}={changes!r}: say stages.{name}.key=value")
        by_name[name] = merge(by_name[name], changes)
    return list(by_name.values())
