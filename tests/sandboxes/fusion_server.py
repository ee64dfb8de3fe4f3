"""A small server that speaks SandboxFusion's `POST /run_code`, and really runs the programs. Prints its URL."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

CAPTURED = 1 << 20
DEFAULTS = {"run_timeout": 10, "memory_limit_MB": -1, "stdin": None, "files": {}, "fetch_files": []}


def run_code(request: dict[str, Any]) -> dict[str, Any]:
    """What the real server answers: status, message, run_result, files."""
    request = {**DEFAULTS, **request}
    assert request["language"] == "python"
    with tempfile.TemporaryDirectory() as folder:
        for name, content in request["files"].items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(base64.b64decode(content))
        program = Path(folder, "tmpprogram.py")
        program.write_text(request["code"])
        result = run(program, folder, request["run_timeout"], request["memory_limit_MB"])
        fetched = [name for name in request["fetch_files"] if Path(folder, name).is_file()]
        files = {name: base64.b64encode(Path(folder, name).read_bytes()).decode() for name in fetched}
    success = result["status"] == "Finished" and result["return_code"] == 0
    return {
        "status": "Success" if success else "Failed",
        "message": "",
        "compile_result": None,
        "run_result": result,
        "executor_pod_name": None,
        "files": files,
    }


def run(program: Path, folder: str, timeout: float, memory: int) -> dict[str, Any]:
    """Run it with both streams drained and capped."""

    def limit() -> None:
        if memory > 0:
            resource.setrlimit(resource.RLIMIT_AS, (memory << 20, memory << 20))

    words = [sys.executable, str(program)]
    started = time.monotonic()
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        words,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        start_new_session=True,
        preexec_fn=limit,
    )
    kept = [bytearray(), bytearray()]
    assert process.stdout is not None
    assert process.stderr is not None
    pairs = zip((process.stdout, process.stderr), kept, strict=True)
    readers = [threading.Thread(target=drain, args=pair) for pair in pairs]
    for reader in readers:
        reader.start()
    status = "Finished"
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        status = "TimeLimitExceeded"
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    for reader in readers:
        reader.join()
    return {
        "status": status,
        "execution_time": time.monotonic() - started,
        "return_code": code if status == "Finished" else None,
        "stdout": decode(kept[0]),
        "stderr": decode(kept[1]),
    }


def drain(stream: BinaryIO, kept: bytearray) -> None:
    with stream:
        while part := stream.read(1 << 16):
            kept.extend(part[: CAPTURED - len(kept)])


def decode(data: bytearray) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        return f"[DecodeError] {error}"


class Handler(BaseHTTPRequestHandler):
    """One request a connection."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = json.dumps(run_code(request)).encode() if self.path == "/run_code" else b"{}"
        self.send_response(200 if self.path == "/run_code" else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
