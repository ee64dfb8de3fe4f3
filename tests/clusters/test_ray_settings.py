"""What can be wrong with a cluster before anything runs in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agentgym.clusters.folder import SharedFolder, shared
from agentgym.config import build
from agentgym.errors import ConfigError
from agentgym.opening import open_policy
from agentgym.run import resolve_settings

SERVER = {"name": "openai", "form": "tokens", "base_url": "http://127.0.0.1:9/v1", "weights_folder": "/dev/shm"}
WITHOUT_RAY = "import sys; sys.modules['ray'] = None; from agentgym.cli import main; main()"


def test_without_ray_the_error_says_how_to_get_it(tmp_path: Path) -> None:
    words = ["train", "env=retool", "cluster=ray", f"output_dir={tmp_path}", "run_name=mine"]
    done = subprocess.run([sys.executable, "-c", WITHOUT_RAY, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "pip install -e '.[ray]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_settings_are_nested_and_checked() -> None:
    settings = resolve_settings({"cluster": {"name": "ray", "workers": "3", "engine": {"gpus": "2"}}}, [])
    config = build("cluster", settings.cluster)
    assert (config.workers, config.engine.gpus, config.cpus) == (3, 2.0, 5.0)
    for wrong, why in [
        ({"workers": 0}, "workers must be at least 1, not 0"),
        ({"learner": {"cpus": -1}}, "cpus must be above 0"),
        ({"strategy": "SPRED"}, "did you mean 'SPREAD'"),
        ({"worker": {"cpu": 1}}, "did you mean 'cpus'"),
        ({"addres": "auto"}, "did you mean 'address'"),
    ]:
        with pytest.raises(ConfigError, match=why):
            build("cluster", {"name": "ray", **wrong})


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"deterministic": True}, "deterministic needs cluster=single"),
        ({"engine": {"name": "openai", "base_url": "http://127.0.0.1:9/v1"}}, "has its model somewhere else"),
        ({"cluster": {"name": "ray", "engines": 2}, "engine": SERVER}, "weights from one replica"),
        ({"cluster": {"name": "ray", "address": "127.0.0.1:9"}}, "cluster.address=127.0.0.1:9: no Ray cluster"),
    ],
)
async def test_what_does_not_go_together_is_refused(more: dict[str, object], why: str) -> None:
    pytest.importorskip("ray", reason="ray is not installed: pip install -e '.[ray]'")
    settings = resolve_settings({"cluster": "ray", **more}, [])
    with pytest.raises(ConfigError, match=why):
        async with open_policy(settings):
            pass


def test_a_folder_that_only_one_machine_has_is_refused(tmp_path: Path) -> None:
    with shared(tmp_path / "run") as folder:
        folder.check()
        with pytest.raises(ConfigError, match="is not the same folder on all machines"):
            SharedFolder(tmp_path / "elsewhere", folder.text).check()
    assert not list(tmp_path.iterdir())  # of a run that never began
