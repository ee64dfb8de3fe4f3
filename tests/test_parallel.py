"""Who takes part in a run of several processes."""

from __future__ import annotations

import pytest

from agentgym.parallel import ALONE, Peers, rank, size


@pytest.mark.parametrize("told", [{"WORLD_SIZE": "4"}, {"WORLD_SIZE": "4", "RANK": "3"}])
def test_what_a_scheduler_sets_for_every_process_makes_no_peers(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, str]
) -> None:
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert (rank(), size()) == (0, 1)
    alone = Peers.join("cpu")
    assert (alone.rank, alone.size, alone.first) == (ALONE.rank, ALONE.size, True)
