"""Finds what others wrote: a name in a file or module, and entry points of installed distributions."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from agentgym.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


def load_named(kind: str, name: str, fits: Callable[[Any], bool], wanted: str) -> Any:
    """What `path/to/file.py:name` or `package.module:name` stands for. fits: whether that can be a `kind`; wanted:
    what it should be, in words. Raises ConfigError."""
    where, _, attribute = name.rpartition(":")
    module = import_module(f"{kind} {name!r}", where)
    found = getattr(module, attribute, None)
    if fits(found):
        return found
    what = f"is no {wanted}" if hasattr(module, attribute) else "does not exist"
    near = [n for n, v in vars(module).items() if fits(v) and getattr(v, "__module__", "") == module.__name__]
    raise ConfigError(f"{kind} {name!r}: {attribute!r} {what} in {where}. {did_you_mean(attribute, near)}")


def import_module(what: str, where: str) -> ModuleType:
    """The module in a file (`.py`) or of a dotted name. Raises ConfigError that begins with `what`."""
    try:
        return _import_file(what, Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{what}: {where} cannot be imported: {type(error).__name__}: {error}") from error


def _import_file(what: str, file: Path) -> ModuleType:
    if not file.is_file():
        raise ConfigError(f"{what}: there is no file {str(file)!r}")
    return _run_file(file.resolve(), file.stat().st_mtime_ns)


@functools.cache
def _run_file(file: Path, written: int) -> ModuleType:
    """A file run as a module, once until it is written anew. Its name is its own, since files may share a stem."""
    name = f"agentgym_plugin_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None, "it ends in .py"
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(file.parent) not in sys.path:  # its neighbours are there to be imported, as for a script
        sys.path.append(str(file.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def entry_points(group: str) -> list[EntryPoint]:
    """The entry points of a group, sorted by name."""
    from importlib import metadata

    return sorted(metadata.entry_points(group=group), key=lambda entry: entry.name)


def load_entry_point(kind: str, name: str, group: str) -> Any:
    """What the entry point of that name stands for, None if there is none. Raises ConfigError naming the
    distribution that it came with."""
    found = [entry for entry in entry_points(group) if entry.name == name]
    if not found:
        return None
    if len(found) > 1:
        claims = " and ".join(f"{distribution(entry)} ({entry.value})" for entry in found)
        raise ConfigError(f"{kind} {name!r} is the name of several: {claims}; say module:name")
    [entry] = found
    try:
        return entry.load()
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"{kind} {name!r} of {distribution(entry)}: {entry.value} cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error


def distribution(entry: EntryPoint) -> str:
    """Name and version of what an entry point came with."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "an unknown distribution"
