"""How an MCP server is named, and what is said of names that are none."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agentgym.errors import ConfigError
from agentgym.mcp.toolset import mcp_toolset
from agentgym.mcp.variables import filled_in

FILE = {
    "mcpServers": {
        "files": {"command": "npx", "args": ["-y", "files", "/tmp"], "env": {"LEVEL": "3"}, "disabled": False},
        "search": {"type": "http", "url": "https://search.example/mcp", "headers": {"Authorization": "Bearer x"}},
        "old": {"type": "sse", "url": "https://old.example/sse"},
    }
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps(FILE))
    return path


def test_a_command() -> None:
    toolset = mcp_toolset("mcp:python 'my server.py' --fast")
    assert (toolset.command, toolset.args, toolset.url) == ("python", ("my server.py", "--fast"), "")


def test_a_url() -> None:
    toolset = mcp_toolset("mcp:http://127.0.0.1:8812/mcp")
    assert (toolset.command, toolset.url) == ("", "http://127.0.0.1:8812/mcp")


def test_an_entry_of_a_file(file: Path) -> None:
    files, search = mcp_toolset(f"mcp:{file}#files"), mcp_toolset({"name": f"mcp:{file}#search", "timeout": "5"})
    assert (files.command, files.args, files.env) == ("npx", ("-y", "files", "/tmp"), (("LEVEL", "3"),))
    assert (search.url, search.headers) == ("https://search.example/mcp", (("Authorization", "Bearer x"),))
    assert search.timeout == 5.0


def test_a_table_can_be_a_key_and_travel() -> None:
    table = {"name": "mcp", "command": "serve", "args": ["a"], "env": {"B": "2", "A": "1"}, "tools": ["x"]}
    toolset = mcp_toolset({**table, "prefix": "p_", "stateless": True})
    assert (toolset.tools, toolset.prefix, toolset.stateless) == (("x",), "p_", True)
    assert {pickle.loads(pickle.dumps(toolset))} == {toolset}
    assert mcp_toolset({**table, "timeout": 3}).server == toolset.server  # one connection for both


def test_secrets_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "sesame")
    assert filled_in((("Authorization", "Bearer ${TOKEN}"), ("Cost", "$5"))) == {
        "Authorization": "Bearer sesame",
        "Cost": "$5",
    }
    with pytest.raises(ConfigError, match="NO_SUCH_TOKEN"):
        filled_in((("Authorization", "${NO_SUCH_TOKEN}"),))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mcp:", "a command or a url is needed"),
        ("mcp:python 'server.py", "No closing quotation"),
        ("mcp:{file}", "no server '': .*Known: files, old, search"),
        ("mcp:{file}#serach", "did you mean 'search'"),
        ("mcp:{file}#old", "type 'sse'.*stdio"),
        ("mcp:nowhere.json#x", "nowhere.json: No such file"),
        ({"name": "mcp", "comand": "python"}, "unknown key 'comand': did you mean 'command'"),
        ({"name": "mcp", "command": "python", "url": "http://x/mcp"}, "not both"),
        ({"name": "mcp", "url": "ws://x"}, "http://HOST:PORT/PATH"),
        ({"name": "mcp", "url": "http://x", "args": ["a"]}, "args, env and cwd go with a command"),
        ({"name": "mcp", "command": "x", "headers": {"a": "b"}}, "headers go with a url"),
        ({"name": "mcp", "command": "x", "timeout": 0}, "timeout must be above 0"),
        ({"name": "mcp", "command": "x", "tools": []}, "tools: at least one"),
        ({"name": "python", "command": "x"}, "begins with mcp:"),
    ],
)
def test_what_is_no_server(spec: Any, message: str, file: Path) -> None:
    spec = spec.replace("{file}", str(file)) if isinstance(spec, str) else spec
    with pytest.raises(ConfigError, match=message):
        mcp_toolset(spec)


def test_a_file_that_is_no_mcp_json(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    for text in ("{", "[]", '{"servers": {}}', '{"mcpServers": {"x": 3}}'):
        path.write_text(text)
        with pytest.raises(ConfigError, match="mcpServers"):
            mcp_toolset(f"mcp:{path}#x")


def test_without_the_sdk_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['mcp'] = None\n"
        "from agentgym.errors import UserError\n"
        "from agentgym.mcp.toolset import mcp_toolset\n"
        "try: mcp_toolset('mcp:python server.py')\n"
        "except UserError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "the extra `mcp`" in done.stdout


def test_naming_a_server_loads_nothing_heavy() -> None:
    code = (
        "import sys; from agentgym.mcp.toolset import mcp_toolset; mcp_toolset('mcp:x')\n"
        "print(sorted({'mcp', 'pydantic', 'httpx2', 'starlette'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
