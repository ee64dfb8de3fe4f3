"""`agentgym doctor`: what is there, what is not, and whether that matters."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

from agentgym import doctor


@pytest.fixture
def hide(monkeypatch):
    """Makes distributions look absent."""
    real = metadata.version

    def set_hidden(*names: str) -> None:
        def version(name: str) -> str:
            if name in names:
                raise metadata.PackageNotFoundError(name)
            return real(name)

        monkeypatch.setattr(metadata, "version", version)

    return set_hidden


def report(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, str]]:
    """Exit status, and each check's line by name."""
    status = doctor.main()
    lines = capsys.readouterr().out.split("\n\n")[0].splitlines()
    return status, {line[5:].split("  ")[0].strip(): line for line in lines}


def test_a_whole_installation(capsys):
    status, lines = report(capsys)
    assert status == 0
    assert metadata.version("transformers") in lines["transformers"]
    assert metadata.version("torch") in lines["torch"]
    assert "thread" in lines["torch"]
    assert f"{sys.version_info.major}.{sys.version_info.minor}." in lines["python"]


def test_required_and_absent(capsys, hide):
    hide("peft")
    status, lines = report(capsys)
    assert status == 1
    assert lines["peft"].startswith("FAIL")
    assert "absent" in lines["peft"]
    assert "no LoRA" in lines["peft"]


def test_optional_and_absent(capsys, hide):
    hide("datasets")
    status, lines = report(capsys)
    assert status == 0
    assert "absent; no tasks from the Hugging Face hub" in lines["datasets"]
    assert "FAIL" not in lines["datasets"]


def test_a_version_out_of_bounds(capsys, monkeypatch):
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "2.9.1" if name == "torch" else real(name))
    status, lines = report(capsys)
    assert status == 1
    assert "2.9.1" in lines["torch"]
    assert "agentgym needs" in lines["torch"]


@pytest.mark.parametrize(
    ("version", "bounds", "inside"),
    [
        ("2.13.0+cpu", ">=2.11,<2.14", True),
        ("2.11", ">=2.11,<2.14", True),
        ("2.14.0", ">=2.11,<2.14", False),
        ("2.9", ">=2.11,<2.14", False),
        ("2.9", "<2.14,>=2.9", True),
        ("5.20.1", "<5.20,>=5.16", False),
        ("17", ">=17", True),
        ("1.2rc1", "", True),
    ],
)
def test_version_bounds(version, bounds, inside):
    assert doctor.within(version, bounds) is inside


def test_every_dependency_is_checked():
    names = {check.name for check in doctor.diagnose() if check.required}
    assert {"torch", "transformers", "peft", "math-verify", "tensorboard", "rich", "gymnasium"} <= names
    assert "pytest" not in names


def test_without_bubblewrap_the_cost_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("AGENTGYM_ALLOW_WEAK", raising=False)
    [check] = doctor.sandbox_rows("local")
    assert not check.found
    assert "bwrap" in check.note
    assert "allow_weak" in check.note


def test_loads_nothing_heavy_but_torch():
    code = "import sys; from agentgym.doctor import diagnose; diagnose(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"transformers", "peft"} & set(done.stdout.split())
