"""An OpenAI-like server that is given weights as vLLM is, over the engine of this process."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .api_server import ApiServer


@dataclass
class WeightsServer(ApiServer):
    """model: what the engine samples from. calls: what it was told, by path. takes: whether weights are taken.
    fails: answers in place of the next calls, by path."""

    model: Any = None
    name: str = "default"
    takes: bool = True
    calls: list[str] = field(default_factory=list)
    fails: dict[str, Response] = field(default_factory=dict)

    async def control(self, request: Request) -> Response:
        path = request.url.path.strip("/")
        body = {} if request.method == "GET" else json.loads(await request.body())
        if path != "weight_info":
            self.calls.append(path)
        if path in self.fails:
            return self.fails.pop(path)
        if path == "collective_rpc" and self.takes:
            assert body["method"] == "reload_weights"
            await self.become(Path(body["kwargs"]["weights_path"]))
        if path == "update_weight_version":
            self.name = body["new_version"]
        return JSONResponse({"weight_version": self.name, "success": True})

    async def become(self, folder: Path) -> None:
        """The model in a folder. The engine has its weights in common with `model`."""
        self.model.load_state_dict(_state(folder))
        await self.engine.load(self.model, 0)

    async def start_again(self, folder: Path) -> None:
        """As if it had been killed and started, with the model in this folder."""
        self.name = "default"
        await self.become(folder)

    def app(self) -> Starlette:
        whole = super().app()
        for path in ("pause", "collective_rpc", "reset_prefix_cache", "update_weight_version", "resume"):
            whole.router.routes.append(Route(f"/{path}", self.control, methods=["POST"]))
        whole.router.routes.append(Route("/weight_info", self.control))
        return whole


def _state(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: weight for file in folder.glob("*.safetensors") for name, weight in load_file(file).items()}
