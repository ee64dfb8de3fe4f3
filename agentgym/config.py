"""Names to components, and text to frozen dataclasses.

Every component is a frozen dataclass whose fields are its config and whose file name is its name:
`retool` is the class `Retool` in `agentgym/envs/retool.py`. Elsewhere it is `path/to/file.py:Class` or
`package.module:Class`, or an installed distribution's entry point whose group is the kind's package
(`agentgym.envs`). Values come from TOML and from `a.b=value` overrides; an unknown key or name is an
error that says what was meant and what exists.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

from agentgym import plugins
from agentgym.errors import ConfigError, did_you_mean

T = TypeVar("T")
Spec = str | dict[str, Any]
"""A component as configured: its name, or a table with `name` and its fields."""

KINDS = {
    "env": "agentgym.envs",
    "sandbox": "agentgym.sandboxes",
    "tool": "agentgym.tools",
    "retriever": "agentgym.retrievers",
    "llm": "agentgym.llms",
    "protocol": "agentgym.protocols",
    "tasks": "agentgym.envs.tasks",
    "engine": "agentgym.engines",
    "cluster": "agentgym.clusters",
    "rollout": "agentgym.rollout",
    "signal": "agentgym.trainers.signals",
    "credit": "agentgym.trainers.credit",
    "sampler": "agentgym.trainers.samplers",
    "loss": "agentgym.trainers.losses",
}


def class_name(name: str) -> str:
    """`leave_one_out` -> `LeaveOneOut`."""
    return "".join(part.capitalize() for part in name.replace("-", "_").split("_"))


def names(kind: str) -> list[str]:
    """Built-in components of a kind: files of its package that define the frozen dataclass they are named after
    (a tool, which is live, may be any class)."""
    return sorted(file.stem for file in _folder(kind).glob("*.py") if _is_component(kind, file))


def installed(kind: str) -> list[str]:
    """Names of the entry points of a kind."""
    return [entry.name for entry in plugins.entry_points(KINDS[kind])]


def _folder(kind: str) -> Path:
    spec = importlib.util.find_spec(KINDS[kind])
    assert spec is not None, f"{KINDS[kind]} is a package of ours"
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


def _is_component(kind: str, file: Path) -> bool:
    decorator = "" if kind == "tool" else r"@dataclass\(frozen=True.*\)\n"
    component = rf"^{decorator}class {class_name(file.stem)}\b"
    return bool(re.search(component, file.read_text(encoding="utf-8"), re.MULTILINE))


def resolve(kind: str, name: str) -> Any:
    """What a component's name stands for: a frozen dataclass, or any function or class for a tool. Raises
    ConfigError naming the nearest."""
    fits, wanted = (callable, "function or class") if kind == "tool" else (_is_dataclass, "dataclass")
    if ":" in name:
        return plugins.load_named(kind, name, fits, wanted)
    if name.endswith(".py"):
        raise ConfigError(f"{kind} {name!r}: say {name}:{'name' if kind == 'tool' else 'Class'}")
    stem = name.replace("-", "_")
    file = _folder(kind) / f"{stem}.py"
    if stem.isidentifier() and file.is_file() and _is_component(kind, file):
        module = importlib.import_module(f"{KINDS[kind]}.{stem}")
        return getattr(module, class_name(stem))
    found = plugins.load_entry_point(kind, name, KINDS[kind])
    if found is None:
        raise ConfigError(f"unknown {kind} {name!r}: {did_you_mean(stem, {*names(kind), *installed(kind)})}")
    if not fits(found):
        raise ConfigError(f"{kind} {name!r}: its entry point is no {wanted}: {found!r}")
    return found


def _is_dataclass(thing: Any) -> bool:
    return isinstance(thing, type) and dataclasses.is_dataclass(thing)


def build(kind: str, spec: Spec) -> Any:
    """The component `spec` describes, validated: `build("credit", {"name": "group_relative", "std": "none"})`."""
    table = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = table.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(f"{kind}: a name is needed. Known: {', '.join(names(kind))}")
    return convert(resolve(kind, name), table, where=f"{kind} {name}")


def name_of(spec: Spec) -> str:
    """The name of a component as configured; empty where none is given."""
    return spec if isinstance(spec, str) else str(spec.get("name", ""))


def convert(cls: type[T], table: Mapping[str, Any], where: str) -> T:
    """`table` as a `cls` (a dataclass): strings become numbers where the field is one, and a component's
    table without a name is the default's. Raises ConfigError."""
    _check_keys(cls, table, where)
    for f in dataclasses.fields(cls):  # type: ignore[arg-type]  # T is a dataclass
        value = table.get(f.name)
        if isinstance(f.default, str) and isinstance(value, Mapping) and "name" not in value:
            table = {**table, f.name: {"name": f.default, **value}}
    try:
        return msgspec.convert(dict(table), cls, strict=False)
    except (msgspec.ValidationError, ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {_readable(str(error), cls, table)}") from error


def _check_keys(cls: type[Any], table: Mapping[str, Any], where: str) -> None:
    hints = get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls)]
    for key, value in table.items():
        if key not in known:
            meant = getattr(cls, "also_called", {}).get(key) or _deeper(cls, table, key)
            hint = f"did you mean {meant!r}? Known: {', '.join(sorted(known))}" if meant else ""
            raise ConfigError(f"{where}: unknown key {key!r}: {hint or did_you_mean(key, known)}")
        if isinstance(value, Mapping) and dataclasses.is_dataclass(hints[key]):
            _check_keys(hints[key], value, f"{where}.{key}")
        member: Any = next(iter(get_args(hints[key])), None)
        if isinstance(value, list) and isinstance(member, type) and dataclasses.is_dataclass(member):
            for number, each in enumerate(value):
                if isinstance(each, Mapping):
                    _check_keys(member, each, f"{where}.{key}.{each.get('name', number)}")


def _deeper(cls: type[Any], table: Mapping[str, Any], key: str) -> str:
    """`retriever.corpus`, where the component in the field `retriever`, or any that may stand there, has a field
    `corpus`; empty where none has."""
    for f in dataclasses.fields(cls):
        spec = table.get(f.name, f.default)
        name = spec.get("name") if isinstance(spec, Mapping) else spec
        if f.name in KINDS and any(key in _fields(f.name, each) for each in ([name] if name else names(f.name))):
            return f"{f.name}.{key}"
    return ""


def _fields(kind: str, name: Any) -> set[str]:
    """Of a component, as far as there is one."""
    try:
        component = resolve(kind, str(name))
    except ConfigError:
        return set()
    return {f.name for f in dataclasses.fields(component)} if _is_dataclass(component) else set()


def _readable(message: str, cls: type[Any], table: Mapping[str, Any]) -> str:
    """msgspec's `Expected `float`, got `str` - at `$.lr`` as `lr: expected float, not 'abc'`."""
    text, _, path = message.replace("`", "").partition(" - at ")
    if not text.startswith(("Expected ", "Invalid enum value")):
        return text
    keys = path.removeprefix("$.")
    value: Any = table
    kind: Any = cls
    for key in re.findall(r"[^.\[\]]+", keys):
        value = value[int(key) if isinstance(value, list) else key]
        kind = get_type_hints(kind)[key] if dataclasses.is_dataclass(kind) else get_args(kind)[0]
    if text.startswith("Invalid"):
        return f"{keys}: unknown {value!r}: {did_you_mean(str(value), _choices(kind))}"
    wanted = text.removeprefix("Expected ").partition(", got ")[0].removesuffix(" | null")
    wanted = {"object": "a table", "array": "a list", "bool": "true or false"}.get(wanted, wanted)
    return f"{keys}: expected {wanted}, not {value!r}"


def _choices(kind: Any) -> list[str]:
    """The values of a Literal, also within a union; of its other members the names."""
    found: list[str] = []
    for choice in get_args(kind):
        found += _choices(choice) if get_args(choice) else [getattr(choice, "__name__", str(choice))]
    return found


def to_table(component: Any) -> Any:
    """A dataclass as plain TOML-able values (None left out)."""
    if dataclasses.is_dataclass(component) and not isinstance(component, type):
        pairs = {f.name: getattr(component, f.name) for f in dataclasses.fields(component)}
        return {k: to_table(v) for k, v in pairs.items() if v is not None}
    if isinstance(component, Mapping):
        return {k: to_table(v) for k, v in component.items() if v is not None}
    if isinstance(component, (list, tuple)):
        return [to_table(v) for v in component]
    return component


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The table in a TOML file; raises ConfigError with file and line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{what} {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what} {path}: not TOML: {error}") from error


def write_toml(table: Mapping[str, Any], prefix: str = "") -> str:
    """A table as TOML text: scalars first, then sub-tables, then arrays of tables."""
    scalars, below = [], []
    for key, value in table.items():
        path = f"{prefix}.{key}" if prefix else key
        if isinstance(value, Mapping):
            below.append(f"\n[{path}]\n{write_toml(value, path)}")
        elif isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
            below += [f"\n[[{path}]]\n{write_toml(v, path)}" for v in value]
        else:
            scalars.append(f"{key} = {_inline(value)}\n")
    return "".join(scalars + below)


def _inline(value: Any) -> str:
    """A value on one line; tables among other values of a list become inline tables."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_inline(v)}" for key, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, float):
        return repr(value)  # also inf and nan, which JSON writes in words of its own
    return json.dumps(value, ensure_ascii=False)


def parse_overrides(arguments: Iterable[str]) -> dict[str, Any]:
    """`["env=retool", "--env.max_turns", "4"]` -> `{"env": {"name": "retool", "max_turns": "4"}}`.

    Values that read as TOML lists, tables or booleans become those; all else stays text and is converted
    to its field's type later.
    """
    tree: dict[str, Any] = {}
    words = list(arguments)
    while words:
        word = words.pop(0)
        key, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and not equals:
            if not words:
                raise ConfigError(f"{word} needs a value")
            value = words.pop(0)
        elif not equals:
            raise ConfigError(f"{word!r} is not key=value")
        if not all(key.split(".")):
            raise ConfigError(f"{word!r} has no key before its value; settings are written key=value or a.b=value")
        set_path(tree, key.replace("-", "_").split("."), parse_value(value))
    return tree


def parse_value(text: str) -> Any:
    """A command-line value: a TOML list, table or boolean if it reads as one, else the text."""
    if text.startswith(("[", "{")) or text in ("true", "false"):
        try:
            return tomllib.loads(f"x = {text}")["x"]
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{text!r} does not read as a list or table: {error}") from error
    return text


def set_path(tree: dict[str, Any], path: list[str], value: Any) -> None:
    """`tree[a][b] = value`; a name given as text (`env=retool`) becomes `{"name": "retool"}` when keys follow."""
    *parents, last = path
    for part in parents:
        below = tree.get(part)
        if isinstance(below, str):
            below = {"name": below}
        tree[part] = below = below if isinstance(below, dict) else {}
        tree = below
    if isinstance(value, str) and isinstance(tree.get(last), dict):
        value = {**tree[last], "name": value}
    tree[last] = value


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` on top of `base`, table by table. A component renamed (`env=sql`) keeps none of the old fields."""
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        if isinstance(old, str) and isinstance(value, Mapping):
            old = {"name": old}
        if isinstance(old, Mapping) and isinstance(value, str):
            value = {"name": value}
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            renamed = "name" in value and value["name"] != old.get("name")
            out[key] = dict(value) if renamed else merge(old, value)
        else:
            out[key] = value
    return out
