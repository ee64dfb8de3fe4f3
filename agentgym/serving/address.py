"""Where a server listens, and what its clients must show."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from agentgym.errors import ConfigError
from agentgym.ranges import within
from agentgym.serving.token import find_token


@dataclass(frozen=True)
class Address:
    """host, port: port 0 is any free one. Beyond this machine a token is required.

    token, token_env, token_file: what clients must show: itself, a variable or a file that holds it.
    """

    host: str = "127.0.0.1"
    port: int = 8811
    token: str = field(default="", repr=False)
    token_env: str = ""
    token_file: str = ""

    def __post_init__(self) -> None:
        within(self, 0, 65535, "port")

    def find_token(self) -> str:
        """The token; empty where none is wanted. Raises ConfigError."""
        return find_token(self.token, self.token_env, self.token_file)

    def listen(self) -> socket.socket:
        """A listening socket; raises ConfigError, also for an address beyond this machine without a token."""
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            family, _, _, _, address = found[0]
        except OSError as error:
            raise ConfigError(f"host={self.host}: {error.strerror}") from error
        if not self.find_token() and not ipaddress.ip_address(address[0]).is_loopback:
            raise ConfigError(
                f"host={self.host} can be reached from other machines, and whoever reaches it can use it: "
                "give a token_file, token_env or token, or set AGENTGYM_TOKEN"
            )
        try:
            listener = socket.create_server(address[:2], family=family)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited; without it 40 ms a call
            return listener
        except OSError as error:
            raise ConfigError(f"host={self.host} port={self.port}: {error.strerror}") from error


def url_of(listener: socket.socket) -> str:
    """The URL that a listening socket is reached at."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def check_url(url: str) -> None:
    """Raises ValueError unless it is the URL of a server."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"url: http://HOST:PORT or https://HOST is needed, not {url!r}")
