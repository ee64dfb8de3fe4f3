"""Begins a plugin: a small package whose tests pass, for its author to go on from."""

from __future__ import annotations

import keyword
import re
import sys
from pathlib import Path
from string import Template

from agentgym import config
from agentgym.errors import ConfigError, did_you_mean

KINDS = ("tool", "env")
SUFFIX = ".txt"
"""Ends every template's name, so that none is taken for code of ours."""


def write_plugin(kind: str, name: str, parent: Path) -> list[Path]:
    """Write the package `name` into a folder of that name in `parent`; the files written. Raises ConfigError for a
    name that will not do, and where the folder exists."""
    if kind not in KINDS:
        raise ConfigError(f"init takes tool or env, not {kind!r}: {did_you_mean(kind, KINDS)}")
    module = name.replace("-", "_")
    _check(kind, name, module)
    folder = parent / name
    try:
        folder.mkdir()
    except OSError as error:
        raise ConfigError(f"init: {folder}: {error.strerror}; nothing was written") from error
    words = {"name": name.replace("_", "-"), "module": module, "class_name": config.class_name(module)}
    written = []
    for template in sorted((Path(__file__).parent / kind).glob(f"*{SUFFIX}")):
        file = folder / template.name.removesuffix(SUFFIX).replace("module", module)
        file.write_text(Template(template.read_text(encoding="utf-8")).substitute(words), encoding="utf-8")
        written.append(file)
    return written


def _check(kind: str, name: str, module: str) -> None:
    if not re.fullmatch(r"[a-z](_?[a-z0-9])*", module) or keyword.iskeyword(module):
        raise ConfigError(
            f"init: {name!r} is no name for a {kind}; it begins with a letter, has small letters, digits and "
            f"single dashes or underscores, such as unit-converter, and is no word of Python's own"
        )
    if module in config.names(kind):
        raise ConfigError(f"init: there is a built-in {kind} {module!r}; take another name")
    if module in sys.stdlib_module_names or module == "agentgym":
        raise ConfigError(f"init: Python's own module {module!r} would be hidden by yours; take another name")
