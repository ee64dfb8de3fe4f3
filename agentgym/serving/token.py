"""The secret that a server and its clients share."""

from __future__ import annotations

import os
from pathlib import Path

from agentgym.errors import ConfigError


def find_token(token: str, token_env: str, token_file: str) -> str:
    """The token itself, from an environment variable or from a file; where none is named, from AGENTGYM_TOKEN, and
    empty without that.

    Raises ConfigError when several are named, or the one named is missing or empty.
    """
    named = {"token": token, "token_env": token_env, "token_file": token_file}
    given = [name for name, value in named.items() if value]
    if len(given) > 1:
        raise ConfigError(f"one token is enough: {' and '.join(given)} are given")
    if not given:
        token = os.environ.get("AGENTGYM_TOKEN", "").strip()
    elif token_env:
        token = os.environ.get(token_env, "").strip()
    elif token_file:
        try:
            token = Path(token_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"token_file {token_file}: {error}") from error
    if given and not token:
        raise ConfigError(f"{given[0]}={named[given[0]]}: there is no token in it")
    if not (token.isascii() and token.isprintable()):
        raise ConfigError("a token is made of printable ASCII characters")
    return token
