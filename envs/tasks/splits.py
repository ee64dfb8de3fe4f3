"""Which tasks are held out for evaluation: decided by the task itself, so that it never changes sides."""

from __future__ import annotations

import hashlib

from agentgym.env import Split


def in_split(key: str, split: Split, holdout: float = 0.1) -> bool:
    """Whether the task named `key` belongs to `split`; a share of `holdout` of all keys is held out."""
    if split == "all":
        return True
    place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    return (place < holdout) == (split == "eval")
