"""Real processes, as torchrun starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence


def torchrun(size: int, program: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """The program in `size` processes of this machine."""
    start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *start, *program], env=env, capture_output=True, text=True, timeout=300, check=False
    )
