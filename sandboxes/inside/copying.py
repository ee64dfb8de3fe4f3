"""Copies a workspace for a branch. What is read was arranged by a program: no link is followed, nothing is opened
that could block, and hard links, holes, modes and times are kept, and the numbers of inodes: who has a file open
may know it by that, as SQLite does."""

from __future__ import annotations

import os
import secrets
import stat

CHUNK = 1 << 24
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
MOST_SKIPPED = 1 << 16
"""Inodes of deleted files that are passed over; where there were more, numbers differ from there on."""


def copy_tree(source: int, target: int) -> None:
    """Everything below the folder `source` into the empty folder `target` of a fresh tmpfs (descriptors)."""
    Copy(source, target).run()


class Copy:
    """A tmpfs numbers inodes as they are made. So all are made first, in the order of their numbers, beside each
    other in `target`, and then moved to where they belong and filled."""

    def __init__(self, source: int, target: int) -> None:
        self.source, self.target = source, target
        self.mark = f".{secrets.token_hex(8)}-"
        self.links: dict[int, tuple[int, str]] = {}  # inode -> folder and name, of what has several names

    def run(self) -> None:
        modes: dict[int, int] = {}
        texts: dict[int, str] = {}
        _scan(self.source, modes, texts)
        skipped = 0
        for inode in sorted(modes):
            skipped = self.make(inode, modes[inode], texts.get(inode, ""), skipped)
        self.place_below(self.source, self.target)
        for folder, _ in self.links.values():
            os.close(folder)

    def make(self, inode: int, mode: int, text: str, skipped: int) -> int:
        """Make an inode of that number; how many have been passed over now."""
        name = f"{self.mark}{inode}"
        while True:
            if stat.S_ISDIR(mode):
                os.mkdir(name, 0o700, dir_fd=self.target)
            elif stat.S_ISLNK(mode):
                os.symlink(text, name, dir_fd=self.target)
            else:  # a named pipe or a bound socket has no content of its own
                os.mknod(name, stat.S_IFMT(mode) | 0o600, dir_fd=self.target)
            made = os.stat(name, dir_fd=self.target, follow_symlinks=False).st_ino
            if made >= inode or skipped >= MOST_SKIPPED:
                return skipped
            (os.rmdir if stat.S_ISDIR(mode) else os.unlink)(name, dir_fd=self.target)
            skipped += 1

    def place_below(self, source: int, target: int) -> None:
        """Move to `target` what belongs there, and fill it."""
        for name in os.listdir(source):
            self.place(source, target, name)
        _copy_times(os.fstat(source), target)

    def place(self, source: int, target: int, name: str) -> None:
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if status.st_ino in self.links:
            folder, first = self.links[status.st_ino]
            os.link(first, name, src_dir_fd=folder, dst_dir_fd=target, follow_symlinks=False)
            return
        os.rename(f"{self.mark}{status.st_ino}", name, src_dir_fd=self.target, dst_dir_fd=target)
        if not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1:
            self.links[status.st_ino] = os.dup(target), name
        if stat.S_ISLNK(status.st_mode):
            return
        if stat.S_ISDIR(status.st_mode):
            self.place_folder(source, target, name)
        elif stat.S_ISREG(status.st_mode):
            _fill(source, target, name, status)
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target)

    def place_folder(self, source: int, target: int, name: str) -> None:
        below = os.open(name, FOLDER, dir_fd=source), os.open(name, FOLDER, dir_fd=target)
        self.place_below(*below)
        for descriptor in below:
            os.close(descriptor)


def _scan(folder: int, modes: dict[int, int], texts: dict[int, str]) -> None:
    """The mode of every inode below, and where links lead."""
    for name in os.listdir(folder):
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        modes[status.st_ino] = status.st_mode
        if stat.S_ISLNK(status.st_mode):
            texts[status.st_ino] = os.readlink(name, dir_fd=folder)
        elif stat.S_ISDIR(status.st_mode):
            below = os.open(name, FOLDER, dir_fd=folder)
            _scan(below, modes, texts)
            os.close(below)


def _fill(source: int, target: int, name: str, status: os.stat_result) -> None:
    here = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=source)
    there = os.open(name, os.O_WRONLY | os.O_NOFOLLOW, dir_fd=target)
    os.truncate(there, status.st_size)
    position = 0
    while position < status.st_size:
        try:
            position = os.lseek(here, position, os.SEEK_DATA)
        except OSError:  # only a hole is left
            break
        end = os.lseek(here, position, os.SEEK_HOLE)
        while position < end:
            position += os.pwrite(there, os.pread(here, min(CHUNK, end - position), position), position)
    _copy_times(status, there)
    os.close(here)
    os.close(there)


def _copy_times(status: os.stat_result, target: int) -> None:
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
