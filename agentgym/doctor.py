"""What is installed here, and what each absence costs (`agentgym doctor`)."""

from __future__ import annotations

import asyncio
import platform
import re
from dataclasses import dataclass
from importlib import metadata

from agentgym.config import build
from agentgym.errors import SandboxError
from agentgym.sandbox import SandboxConfig

COSTS = {
    "torch": "nothing can be trained or sampled",
    "transformers": "no models or tokenizers",
    "peft": "no LoRA",
    "math-verify": "mathematical answers cannot be checked",
    "tensorboard": "no TensorBoard events",
    "bm25s": "no env=search",
    "httpx": "no sandboxes on other machines",
    "tenacity": "no models behind an API, no sandboxes on other machines",
    "starlette": "no `agentgym serve`",
    "uvicorn": "no `agentgym serve`",
    "prometheus-client": "no `agentgym serve`",
    "websockets": "no env=openenv, no `agentgym serve env=NAME`",
    "docker": "no sandbox=docker",
    "mcp": "no tools of MCP servers, and none for MCP clients",
    "openai": "no models behind an API: no engine=openai, no llm=openai",
    "vllm": "no engine=vllm",
    "ray": "no cluster=ray: one machine",
    "pyserini": "no retriever=pyserini",
    "reasoning-gym": "no env=reasoning_gym",
    "skyrl-gym": "no env=skyrl_gym",
    "verifiers": "no env=verifiers",
    "datasets": "no tasks from the Hugging Face hub; local files and generators work",
}
"""Distribution -> what is missing without it. Which of them are required says the installed package itself."""


@dataclass(frozen=True, slots=True)
class Check:
    """found: version or state; empty when absent. note: what the absence costs, or what is wrong."""

    name: str
    found: str
    required: bool
    note: str = ""

    @property
    def ok(self) -> bool:
        """False for something required that is absent or wrong."""
        return not self.required or (bool(self.found) and not self.note)


def diagnose() -> list[Check]:
    """Every check, required ones first. Loads nothing heavy but torch, to ask for its device."""
    wanted = requirements()
    checks = [Check("python", platform.python_version(), required=True)]
    names = {**dict.fromkeys(wanted), **dict.fromkeys(COSTS)}
    for name in names:
        check = package(name, wanted)
        checks.append(torch_device(check) if name == "torch" and check.found else check)
    return [*checks, *sandbox_rows("local"), *sandbox_rows("docker")]


def requirements() -> dict[str, str]:
    """The required distributions of the installed agentgym and their version ranges, such as ">=2.11,<2.14"."""
    found = {}
    for line in metadata.requires("agentgym") or []:
        spec, _, marker = line.partition(";")
        match = re.match(r"[\w.-]+", spec)
        if match and "extra" not in marker:
            found[match[0]] = spec[match.end() :].strip()
    return found


def package(name: str, wanted: dict[str, str]) -> Check:
    """Whether a distribution is there, in a version that agentgym is made for."""
    cost, required = COSTS.get(name, "agentgym does not start"), name in wanted
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name, "", required, cost)
    if not within(version, wanted.get(name, "")):
        return Check(name, version, required, f"agentgym needs {wanted[name]}")
    return Check(name, version, required)


def within(version: str, bounds: str) -> bool:
    """Whether a version lies in bounds made of `>=` and `<`."""
    here = _numbers(version)
    for relation, bound in re.findall(r"(>=|<)\s*([\d.]+)", bounds):
        if (here >= _numbers(bound)) != (relation == ">="):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    numbers = tuple(int(n) for n in match[0].split(".")) if match else ()
    return numbers + (0,) * (4 - len(numbers))


def torch_device(check: Check) -> Check:
    """What torch would compute on."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check("torch", check.found, True, f"cannot be imported: {error}")
    cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    devices = [f"CUDA {torch.version.cuda}: {card.name}, {card.total_memory / 2**30:.0f} GiB" for card in cards]
    parts = [check.found, f"{torch.get_num_threads()} threads", *(devices or ["no CUDA device"])]
    return Check("torch", ", ".join(parts), True, check.note)


def sandbox_rows(name: str) -> list[Check]:
    """A row per protection of a sandbox, found by trying; one with the reason where it does not work."""
    sandbox: SandboxConfig = build("sandbox", name)
    try:
        rows = asyncio.run(sandbox.protections())
    except SandboxError as error:
        return [Check(f"sandbox {name}", "", False, " ".join(str(error).split()))]
    return [
        Check(f"{name}: {row.name}", row.detail if row.holds else "", False, "" if row.holds else row.detail)
        for row in rows
    ]


def main() -> int:
    """Print the checks; 1 when something required is absent or wrong, else 0."""
    checks = diagnose()
    width = max(len(check.name) for check in checks)
    for check in checks:
        mark = "ok  " if check.ok and check.found else "-   " if check.ok else "FAIL"
        state = check.found or ("absent (required)" if check.required else "absent")
        print(f"{mark} {check.name:{width}}  {state}{'; ' if check.note else ''}{check.note}")
    wrong = [check.name for check in checks if not check.ok]
    print(f"\n{'to be fixed: ' + ', '.join(wrong) if wrong else 'everything required is here'}")
    return 1 if wrong else 0
