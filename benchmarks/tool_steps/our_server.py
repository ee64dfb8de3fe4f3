"""Our OpenEnv server with the same environment. It prints its address."""

from __future__ import annotations

import asyncio
from functools import partial

from subjects.ours import env_spec

from agentgym.openenv.server import serve
from agentgym.openenv.settings import ServeEnv

if __name__ == "__main__":
    settings = ServeEnv(env=env_spec("echo", "arpo"), port=0, max_connections=4096)
    asyncio.run(serve(settings, partial(print, flush=True)))
