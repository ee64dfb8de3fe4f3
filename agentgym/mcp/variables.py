"""Texts that ask for variables of the environment, so that secrets need not be written down."""

from __future__ import annotations

import os
import re

from agentgym.errors import ConfigError

Pairs = tuple[tuple[str, str], ...]
"""A table of texts that can be hashed."""


def filled_in(pairs: Pairs) -> dict[str, str]:
    """The table, with variables of the environment for `${NAME}`. Raises ConfigError for one that is not set."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise ConfigError(f"{match[0]} is asked for, and there is no such variable in the environment")
        return os.environ[match[1]]

    return {key: re.sub(r"\$\{(\w+)\}", value, text) for key, text in pairs}
