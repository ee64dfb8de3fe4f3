"""Copies a workspace for a branch. What is read was arranged by a program: no link is followed, nothing is opened
that could block, and hard links, holes, modes and times are kept."""

from __future__ import annotations

import os
import stat

CHUNK = 1 << 24
Links = dict[int, tuple[int, str]]


def copy_tree(source: int, target: int) -> None:
    """Everything below the folder `source` into the empty folder `target` (descriptors)."""
    links: Links = {}
    _copy_below(source, target, links)
    for folder, _ in links.values():
        os.close(folder)


def _copy_below(source: int, target: int, links: Links) -> None:
    for name in os.listdir(source):
        _copy_entry(source, target, name, links)
    _copy_times(os.fstat(source), target)


def _copy_entry(source: int, target: int, name: str, links: Links) -> None:
    status = os.stat(name, dir_fd=source, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1:
        if status.st_ino in links:
            folder, first = links[status.st_ino]
            os.link(first, name, src_dir_fd=folder, dst_dir_fd=target)
            return
        links[status.st_ino] = os.dup(target), name
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        return
    if stat.S_ISDIR(status.st_mode):
        _copy_folder(source, target, name, links)
    elif stat.S_ISREG(status.st_mode):
        _copy_file(source, target, name, status)
    else:  # a named pipe or a bound socket has no content of its own
        os.mknod(name, status.st_mode, dir_fd=target)
    os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target)


def _copy_folder(source: int, target: int, name: str, links: Links) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    os.mkdir(name, 0o700, dir_fd=target)
    below = os.open(name, flags, dir_fd=source), os.open(name, flags, dir_fd=target)
    _copy_below(*below, links)
    for descriptor in below:
        os.close(descriptor)


def _copy_file(source: int, target: int, name: str, status: os.stat_result) -> None:
    here = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=source)
    there = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=target)
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
