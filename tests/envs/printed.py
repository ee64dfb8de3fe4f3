"""How protocol `retool` shows outputs."""

from __future__ import annotations


def printed(observation: str) -> str:
    """What a program printed, as the observation shows it."""
    return observation.removeprefix("\n<interpreter>\n").removesuffix("\n</interpreter>\n")
