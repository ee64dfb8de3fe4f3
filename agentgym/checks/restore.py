"""Restores a pickled snapshot in a process of its own and prints its state_key. Used by `checks/env.py`."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import pickle
import sys

from agentgym.env import EnvConfig, Snapshot
from agentgym.services import Services


def load_module(name: str, file: str | None) -> None:
    """Import `name`; a plugin, which has no importable name, comes from its file."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        spec = importlib.util.spec_from_file_location(name, file) if file else None
        if spec is None or spec.loader is None:
            raise
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)


async def restored_key(config: EnvConfig, snapshot: Snapshot) -> str:
    """The state_key after `restore`."""
    async with Services() as services:
        env = config.make(services)
        try:
            await env.restore(snapshot)
            return env.state_key()
        finally:
            await env.close()


def main() -> None:
    """Reads `(sys.path, module, file, pickled (config, snapshot))` from standard input."""
    path, module, file, payload = pickle.load(sys.stdin.buffer)
    sys.path[:] = path
    load_module(module, file)
    print(asyncio.run(restored_key(*pickle.loads(payload))))


if __name__ == "__main__":
    main()
