"""As many episodes at a time as a cluster may need, on a machine with little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "many_episodes.py"


def test_ten_thousand_episodes_wait_at_once_in_a_gibibyte(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARK), "--repeat", "1", "--json", str(tmp_path / "held.json")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    [found] = json.loads((tmp_path / "held.json").read_text(encoding="utf-8"))
    assert found["waiting at once"] == 10_000  # turn after turn: nobody is answered before all have asked
    assert found["right"] == 1
    assert found["peak MiB"] < 1024
