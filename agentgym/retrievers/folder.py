"""An index's folder: built once however many ask for it at the same time, and whole or not there.

It is built in `<folder>.draft`, a directory that is its own lock: a dead builder's lock is gone with it, and
whoever builds the same next goes on with what is there.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from agentgym.errors import ConfigError, UserError
from agentgym.retriever import Built, Progress, Skipped
from agentgym.retrievers.manifest import MANIFEST, PLAN, Plan, encode_plan, read_manifest, write_manifest

WORK = "work"
_PATIENCE = 12 * 3600.0  # seconds that another builder may take
_PAUSE = 0.1

Make = Callable[[Path, Progress], tuple[int, Mapping[str, Skipped]]]
"""Puts an index into a draft folder, where `work` holds what an interrupted call left and is deleted in the end;
returns how many passages the index has and what was left out."""


def default_folder(plan: Plan, name: str) -> Path:
    """In the user's cache directory, one for each plan."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = hashlib.blake2b(encode_plan(plan), digest_size=8).hexdigest()
    return cache / "agentgym" / "indexes" / f"{name}-{key}"


def ensure(folder: Path, plan: Plan, make: Make, progress: Progress) -> Built:
    """The index of `plan` in `folder`: the one that is there, or one that is made now.

    Raises ConfigError for a folder that holds something else or a damaged index, and where nothing can be written.
    """
    started = time.monotonic()
    fresh = False
    while (manifest := read_manifest(folder, plan)) is None:
        try:
            with _draft(folder) as draft:
                if draft:
                    fresh = _build(draft, folder, plan, make, progress)
                    continue
        except OSError as error:
            raise ConfigError(
                f"index {folder}: cannot be written: {error.strerror or error}; name another folder with index=, "
                "or make room and start again: it goes on where it stopped"
            ) from error
        if time.monotonic() > started + _PATIENCE:
            raise ConfigError(f"index {folder}: another process has been building it for {_PATIENCE / 3600:.0f} h")
        progress("waiting for another process that builds it", 0)
        time.sleep(_PAUSE)
    return Built(folder, manifest.passages, manifest.skipped, manifest.size, fresh, time.monotonic() - started)


def _build(draft: Path, folder: Path, plan: Plan, make: Make, progress: Progress) -> bool:
    """Build in the draft and put it in place; False where somebody else did so meanwhile."""
    if read_manifest(folder, plan) is not None:
        draft.rmdir()
        return False
    begun = draft / PLAN
    if not begun.is_file() and any(draft.iterdir()):
        raise ConfigError(f"index {folder}: {draft} is in the way; move it, or name another folder with index=")
    if not begun.is_file() or begun.read_bytes() != encode_plan(plan):
        for entry in draft.iterdir():
            if entry != begun:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        begun.write_bytes(encode_plan(plan))
    if not (draft / MANIFEST).is_file():
        try:
            passages, skipped = make(draft, progress)
        except UserError:  # nobody can go on with this: what is to be indexed must change first
            shutil.rmtree(draft)
            raise
        progress("taking checksums", passages)
        write_manifest(draft, passages, skipped)
    shutil.rmtree(draft / WORK, ignore_errors=True)
    old = folder.with_name(f"{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    draft.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    return True


@contextmanager
def _draft(folder: Path) -> Iterator[Path | None]:
    """The draft folder, locked; None while another process has it."""
    draft = folder.with_name(f"{folder.name}.draft")
    draft.mkdir(parents=True, exist_ok=True)
    handle = os.open(draft, os.O_RDONLY)
    try:
        yield draft if _locked(handle, draft) else None
    finally:
        os.close(handle)


def _locked(handle: int, path: Path) -> bool:
    """Lock it, unless another process holds it, or has put it in place since it was opened."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(handle), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
