"""vLLM's OpenAI-like server as a process of its own, on its CPU build."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from tests.free_port import free_port

ARGUMENTS = (
    *("--dtype", "float32", "--generation-config", "vllm", "--max-logprobs", "-1", "--enforce-eager"),
    # vLLM 0.32 dies on a CPU of a seeded request whose prompt is computed in parts
    *("--no-enable-chunked-prefill", "--max-num-batched-tokens", "4096", "--enable-prompt-tokens-details"),
    *("--served-model-name", "m", "--host", "127.0.0.1"),
)
SETTINGS = {
    "VLLM_SERVER_DEV_MODE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}


@dataclass
class VllmServer:
    """root: its address. process: the leader of a group of processes."""

    root: str
    process: asyncio.subprocess.Process

    @property
    def url(self) -> str:
        """Of the API."""
        return f"{self.root}/v1"

    async def counted(self) -> tuple[int, int]:
        """Tokens of prompts and of completions, by the server's own count since its start."""
        async with httpx2.AsyncClient() as client:
            text = (await client.get(f"{self.root}/metrics")).text
        rows = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("vllm:")]
        totals = {name.split("{")[0]: float(value) for name, value in rows if "tokens_total" in name}
        return int(totals["vllm:prompt_tokens_total"]), int(totals["vllm:generation_tokens_total"])

    async def kill(self) -> None:
        """All of its processes, at once."""
        if self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()


@asynccontextmanager
async def serving(model: Path, tokenizer: Path, log: Path, port: int = 0) -> AsyncIterator[VllmServer]:
    """The server once it answers; killed at the end."""
    port = port or free_port()
    command = ("-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--tokenizer", str(tokenizer))
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *command, "--port", str(port), *ARGUMENTS),
            env=os.environ | SETTINGS,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    server = VllmServer(f"http://127.0.0.1:{port}", process)
    try:
        async with httpx2.AsyncClient() as client:
            while not await _answers(client, server.root):
                assert process.returncode is None, f"the server does not start: {log}"
                await asyncio.sleep(0.2)
        yield server
    finally:
        await server.kill()


async def _answers(client: httpx2.AsyncClient, root: str) -> bool:
    try:
        return (await client.get(f"{root}/health")).status_code == 200
    except httpx2.TransportError:
        return False
