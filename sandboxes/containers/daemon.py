"""The container daemon, by way of the docker SDK, whose calls block and so run in threads."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from agentgym.errors import SandboxError, did_you_mean

if TYPE_CHECKING:
    from agentgym.sandboxes.docker import Docker

T = TypeVar("T")
GVISOR = "runsc"
CALL_SECONDS = 30.0
ATTACH = (
    "POST /containers/{}/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\n"
    "Host: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
)
BUILD = "docker build -f sandboxes/Dockerfile --target agent -t {image} ."


class Daemon:
    """A connection. info: what the daemon says of itself. runtime: the one that containers get. no_gvisor: why it
    is not gVisor's."""

    def __init__(self, client: Any, info: dict[str, Any], runtime: str) -> None:
        self.client = client
        self.info = info
        self.runtime = runtime
        self.no_gvisor = "" if runtime == GVISOR else f"the runtime is {runtime}, not {GVISOR}"

    @classmethod
    async def connect(cls, config: Docker) -> Daemon:
        """Raises SandboxError when the SDK, the daemon, the image or the runtime is not there."""
        try:
            import docker
        except ImportError as error:
            raise SandboxError("sandbox=docker needs the docker SDK: pip install -e '.[docker]'") from error
        client = await call(docker.from_env, timeout=CALL_SECONDS)
        try:
            info = await call(client.info)
            try:
                await call(client.api.inspect_image, config.image)
            except NotThere as error:
                build = BUILD.format(image=config.image)
                raise SandboxError(
                    f"there is no image {config.image!r}; in a checkout of agentgym: {build}"
                ) from error
            return cls(client, info, pick_runtime(config.runtime, info))
        except BaseException:
            client.close()
            raise

    async def call(self, name: str, *args: Any, **fields: Any) -> Any:
        """A method of the SDK's low-level client; raises SandboxError, NotThere among them."""
        return await call(getattr(self.client.api, name), *args, **fields)

    def give_up_gvisor(self, config: Docker, reason: str) -> bool:
        """Take the default runtime where gVisor's was not asked for by name and cannot run sessions; whether."""
        if config.runtime != "auto" or self.runtime != GVISOR:
            return False
        self.runtime = str(self.info["DefaultRuntime"])
        self.no_gvisor = (
            f"the runtime is {self.runtime}, since {GVISOR} runs no sessions: {reason.splitlines()[-1]}"
        )
        return self.runtime != GVISOR

    async def attach(self, container: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the stdin, stdout and stderr of a container; raises SandboxError.

        The SDK would give a socket that belongs to a response, and that cannot be closed for certain.
        """
        from docker.utils import parse_host

        address = urlsplit(parse_host(os.environ.get("DOCKER_HOST")))
        if address.scheme not in ("http", "http+unix"):
            raise SandboxError(f"sandbox=docker speaks unix:// and tcp:// without TLS, not {address.geturl()}")
        try:
            async with asyncio.timeout(CALL_SECONDS):
                if address.scheme == "http":
                    reader, writer = await asyncio.open_connection(address.hostname, address.port)
                else:
                    reader, writer = await asyncio.open_unix_connection(address.path)
                try:
                    writer.write(ATTACH.format(container).encode())
                    head = await reader.readuntil(b"\r\n\r\n")
                    if not head.startswith(b"HTTP/1.1 101 "):
                        raise SandboxError(
                            f"docker: no connection to the container: {head.decode(errors='replace')}"
                        )
                except BaseException:
                    writer.close()
                    raise
        except (OSError, EOFError, asyncio.LimitOverrunError) as error:
            raise SandboxError(f"the docker daemon does not answer: {error}") from error
        return reader, writer

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.to_thread(self.client.close)


class NotThere(SandboxError):
    """The daemon knows no such thing."""


async def call(function: Callable[..., T], *args: Any, **fields: Any) -> T:
    """A blocking call of the SDK, which has its own deadline; its errors become SandboxError."""
    import docker.errors
    import requests.exceptions

    try:
        return await asyncio.to_thread(function, *args, **fields)
    except docker.errors.NotFound as error:
        raise NotThere(f"docker: {error.explanation}") from error
    except docker.errors.APIError as error:
        raise SandboxError(f"docker: {error.explanation or error}") from error
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        _let_go(error)
        raise SandboxError(f"the docker daemon does not answer: {error}") from error


def _let_go(error: BaseException | None) -> None:
    """Close the socket that could not connect: the SDK leaves it to the garbage collector, in a traceback's
    frames."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def pick_runtime(wanted: str, info: dict[str, Any]) -> str:
    """The runtime's name; raises SandboxError when the daemon lacks the one that is wanted."""
    runtimes = info["Runtimes"]
    if wanted == "auto":
        return GVISOR if GVISOR in runtimes else str(info["DefaultRuntime"])
    if wanted not in runtimes:
        raise SandboxError(f"the docker daemon has no runtime {wanted!r}: {did_you_mean(wanted, runtimes)}")
    return wanted
