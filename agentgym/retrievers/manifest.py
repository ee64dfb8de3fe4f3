"""What an index's folder says of itself, and whether it still is what was written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from agentgym.errors import ConfigError
from agentgym.retriever import Progress, Skipped

MANIFEST, PLAN = "manifest.json", "plan.json"
REMEDY = "delete the folder to have it built anew"
_EDGE = 2**16  # bytes of a corpus file's beginning and end that tell it from another

Plan = Mapping[str, Any]
"""What an index is made from, and how: plain values."""


class Manifest(msgspec.Struct):
    """Written last: a folder that has it is whole. files: size and BLAKE2b of each."""

    passages: int
    skipped: dict[str, Skipped]
    files: dict[str, tuple[int, str]]

    @property
    def size(self) -> int:
        return sum(size for size, _ in self.files.values())


def encode_plan(plan: Plan) -> bytes:
    """The same bytes for the same plan."""
    return msgspec.json.encode(plan, order="sorted")


def fingerprint(paths: Sequence[str]) -> list[list[Any]]:
    """What tells corpus files from others, and from their earlier selves, without reading them through."""
    return [[Path(path).name, os.stat(path).st_size, os.stat(path).st_mtime_ns, _edges(path)] for path in paths]


def write_manifest(draft: Path, passages: int, skipped: Mapping[str, Skipped]) -> None:
    """Say that the index in `draft` is whole."""
    names = sorted(file.name for file in draft.iterdir() if file.is_file() and file.name not in (MANIFEST, PLAN))
    files = {name: ((draft / name).stat().st_size, _checksum(draft / name)) for name in names}
    text = msgspec.json.format(msgspec.json.encode(Manifest(passages, dict(skipped), files)))
    fresh = draft / f"{MANIFEST}.new"
    fresh.write_bytes(text)
    fresh.rename(draft / MANIFEST)


def read_manifest(folder: Path, plan: Plan | None) -> Manifest | None:
    """Of the index there; None where there is none yet, or one that was made from an earlier state of the same
    files or with other settings.

    Raises ConfigError for a folder that holds something else, another corpus's index among that, or not all of the
    index any more.
    """
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
        if plan is not None and (there := (folder / PLAN).read_bytes()) != encode_plan(plan):
            _check_same_corpus(folder, msgspec.json.decode(there), plan)
            return None
        for name, (size, _) in manifest.files.items():
            if (found := (folder / name).stat().st_size) != size:
                raise ConfigError(
                    f"index {folder}: damaged: {name} has {found:,} bytes instead of {size:,}; {REMEDY}"
                )
    except (FileNotFoundError, NotADirectoryError) as error:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return None
        if (folder / MANIFEST).is_file():
            raise ConfigError(f"index {folder}: damaged: {error.filename} is missing; {REMEDY}") from error
        raise ConfigError(
            f"index {folder}: holds something else than an index; name another with index="
        ) from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"index {folder}: damaged: {MANIFEST}: {error}; {REMEDY}") from error
    except OSError as error:
        raise ConfigError(f"index {folder}: cannot be read: {error.strerror}") from error
    return manifest


def _check_same_corpus(folder: Path, there: Plan, plan: Plan) -> None:
    """An index that took hours is not replaced because of a wrong file name."""

    def about(of: Plan) -> str:
        return f"{of.get('retriever', 'an index')} over {', '.join(name for name, *_ in of.get('corpus', ()))}"

    if about(there) != about(plan):
        raise ConfigError(
            f"index {folder}: holds {about(there)}, not {about(plan)}; name another folder with index=, or delete "
            "this one"
        )


def verify(folder: Path, progress: Progress) -> None:
    """Compare every byte with the checksums taken when it was built. Raises ConfigError."""
    manifest = read_manifest(folder, None)
    if manifest is None:
        raise ConfigError(f"index {folder}: there is none")
    for name, (_, checksum) in manifest.files.items():
        progress("verifying", manifest.passages)
        if _checksum(folder / name) != checksum:
            raise ConfigError(f"index {folder}: damaged: {name} is not what was written; {REMEDY}")


def _edges(path: str) -> str:
    with open(path, "rb") as file:
        head = file.read(_EDGE)
        file.seek(max(os.fstat(file.fileno()).st_size - _EDGE, 0))
        return hashlib.blake2b(head + file.read(_EDGE), digest_size=16).hexdigest()


def _checksum(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
