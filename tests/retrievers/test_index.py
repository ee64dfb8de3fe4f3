"""An index on disk: built once, resumed where it was interrupted, and never taken for whole when it is not."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agentgym.errors import AgentgymError, ConfigError, TaskError
from agentgym.retriever import Built
from agentgym.retrievers.bm25s import Bm25s

BUILD = """
import sys
from pathlib import Path
from agentgym.retrievers import bm25_build
from agentgym.retrievers.bm25s import Bm25s
bm25_build.PART = 1000
bm25_build._TOLD = 50
def progress(doing, done):
    print(doing, done, flush=True)
    if done >= int(sys.argv[3]):
        print("ready", flush=True)
        sys.stdin.readline()
built = Bm25s(sys.argv[1], sys.argv[2]).build(progress)
print("fresh" if built.fresh else "found", flush=True)
"""


def corpus(folder: Path, count: int = 1000, word: str = "tea") -> Path:
    file = folder / "corpus.jsonl"
    rows = ({"id": str(i), "title": f"t{i}", "text": f"{word} number{i} of many"} for i in range(count))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def builder(file: Path, index: Path, stop: int) -> subprocess.Popen[str]:
    """A process that builds, and waits for a line at each report of `stop` passages or more."""
    words = [sys.executable, "-c", BUILD, str(file), str(index), str(stop)]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def quiet(doing: str, done: int) -> None:
    pass


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "plan.json"}


async def first(config: Bm25s, query: str) -> str:
    retriever = await config.open()
    try:
        [[hit, *_]] = await retriever.search([query], 3)
        return hit.passage.title
    finally:
        await retriever.close()


async def test_a_killed_builder_is_gone_on_with_and_nothing_differs(tmp_path: Path) -> None:
    file, index = corpus(tmp_path), tmp_path / "index"
    with builder(file, index, 700) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "ready\n":
            pass
        process.send_signal(signal.SIGKILL)
    assert not index.exists()
    kept = sorted((tmp_path / "index.draft" / "work").glob("*.npz"))
    assert kept
    changed = {part: part.stat().st_mtime_ns for part in kept}

    told: list[tuple[str, int]] = []

    def progress(doing: str, done: int) -> None:
        told.append((doing, done))
        if doing == "scoring":
            assert {part: part.stat().st_mtime_ns for part in kept} == changed

    assert Bm25s(str(file), str(index)).build(progress).fresh
    assert told[0][0] == "reading again what was indexed before"
    assert not (tmp_path / "index.draft").exists()
    Bm25s(str(file), str(tmp_path / "at once")).build(quiet)
    assert files(index) == files(tmp_path / "at once")
    assert await first(Bm25s(str(file), str(index)), "number999") == "t999"


def test_two_builders_at_once_build_once(tmp_path: Path) -> None:
    file, index = corpus(tmp_path), tmp_path / "index"
    one = builder(file, index, 500)
    assert one.stdout is not None
    while one.stdout.readline() != "ready\n":
        pass
    other = builder(file, index, 10**9)
    assert other.stdout is not None
    assert other.stdout.readline().startswith("waiting for another process")
    said, _ = one.communicate("\n" * 1000, timeout=60)
    assert said.endswith("fresh\n")
    said, _ = other.communicate(timeout=60)
    assert said.endswith("found\n")
    assert "indexing" not in said


async def test_a_changed_corpus_or_setting_is_indexed_again(tmp_path: Path) -> None:
    config = Bm25s(str(corpus(tmp_path)), str(tmp_path / "index"))
    assert config.build(quiet).fresh
    assert not config.build(quiet).fresh
    corpus(tmp_path, count=10, word="coffee")
    assert await first(config, "coffee number3") == "t3"
    assert not config.build(quiet).fresh
    assert Bm25s(config.corpus, config.index, k1=2.0).build(quiet).fresh
    assert sorted(os.listdir(tmp_path)) == ["corpus.jsonl", "index"]


async def test_cancelling_ends_the_building_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentgym.retrievers.bm25_build._TOLD", 10)
    config = Bm25s(str(corpus(tmp_path, 20_000)), str(tmp_path / "index"))
    opening = asyncio.create_task(config.open())
    while not (tmp_path / "index.draft" / "passages.jsonl").exists():  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert await first(config, "number19999") == "t19999"


@pytest.mark.parametrize("name", ["data.csc.index.npy", "vocab.index.json", "passages.jsonl", "manifest.json"])
async def test_a_damaged_index_says_so_and_what_to_do(tmp_path: Path, name: str) -> None:
    config = Bm25s(str(corpus(tmp_path, 50)), str(tmp_path / "index"))
    config.build(quiet)
    damaged = tmp_path / "index" / name
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-40])
    with pytest.raises(ConfigError, match=r"index: damaged: .*; delete the folder"):
        await config.open()
    if name == "manifest.json":
        return
    damaged.unlink()
    with pytest.raises(ConfigError, match=f"index: damaged: .*{name} is missing; delete the folder"):
        await config.open()
    damaged.write_bytes(whole[:-40] + bytes(40))
    with pytest.raises(ConfigError, match=f"damaged: {name} is not what was written; delete the folder"):
        config.build(quiet)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    file = corpus(tmp_path, 10)
    for place in ("theses", "index.draft"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "chapter").write_text("x")
    for index, said in {"theses": "holds something else", "index": "index.draft is in the way"}.items():
        with pytest.raises(ConfigError, match=said):
            Bm25s(str(file), str(tmp_path / index)).build(quiet)
    assert (tmp_path / "theses" / "chapter").read_text() == "x"
    assert (tmp_path / "index.draft" / "chapter").read_text() == "x"


def test_an_index_of_another_corpus_is_left_alone(tmp_path: Path) -> None:
    """It may have taken hours, and a file name may be a slip."""
    mine = corpus(tmp_path)
    other = mine.with_name("other.jsonl")
    other.write_bytes(mine.read_bytes())
    index = tmp_path / "index"
    Bm25s(str(mine), str(index)).build(quiet)
    before = files(index)
    with pytest.raises(
        ConfigError, match=f"holds bm25s over {mine.name}, not bm25s over other.jsonl; name another"
    ):
        Bm25s(str(other), str(index)).build(quiet)
    assert files(index) == before


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = corpus(tmp_path, 10)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc")
    with pytest.raises(ConfigError, match=r"index /proc/agentgym/.*: cannot be written: .*; name another folder"):
        Bm25s(str(file)).build(quiet)
    with pytest.raises(ConfigError, match="cannot be written: Not a directory"):
        Bm25s(str(file), str(file / "index")).build(quiet)


def test_the_cache_has_one_index_for_each_corpus_and_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = str(corpus(tmp_path, 10))
    built = [Bm25s(file).build(quiet), Bm25s((file,), b=0.1).build(quiet), Bm25s((file,)).build(quiet)]
    assert [one.fresh for one in built] == [True, True, False]
    assert built[0].folder == built[2].folder != built[1].folder
    assert built[0].folder.is_relative_to(tmp_path / "cache" / "agentgym")


@pytest.mark.parametrize(
    ("text", "fields", "said"),
    [
        ("", {}, "no passages in it"),
        ("{\n", {}, "no passages in it: .*corpus.jsonl:1: not JSON"),
        ('{"text": "x"}\n{\n', {"strict": True}, "corpus.jsonl:2: not JSON"),
    ],
)
def test_a_corpus_that_cannot_be_indexed_leaves_nothing_behind(
    tmp_path: Path, text: str, fields: dict[str, bool], said: str
) -> None:
    (tmp_path / "corpus.jsonl").write_text(text)
    with pytest.raises(TaskError, match=said):
        Bm25s(str(tmp_path / "corpus.jsonl"), str(tmp_path / "index"), **fields).build(quiet)
    assert os.listdir(tmp_path) == ["corpus.jsonl"]


def test_without_a_corpus_there_is_nothing_to_search() -> None:
    with pytest.raises(AgentgymError, match="no corpus is given"):
        Bm25s().build(quiet)


def index(cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agentgym", "index", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60)


def test_the_command_builds_then_verifies_and_tells_what_was_left_out(tmp_path: Path) -> None:
    corpus(tmp_path, 20)
    (tmp_path / "more.jsonl").write_text('{"id": "a", "text": "x"}\n{oops\n')
    words = ("corpus.jsonl", "more.jsonl", "index=here", "k1=1.2")
    done = index(tmp_path, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "index here: 21 passages" in done.stdout
    assert "left out 1 rows: not JSON\n  more.jsonl:2: not JSON" in done.stdout
    again = index(tmp_path, *words)
    assert "whole, as it was built" in again.stdout
    assert "left out 1 rows" in again.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "retriever bm25s: no corpus is given: set its corpus= to a file or several"),
        (("absent.jsonl",), "corpus absent.jsonl: no such file"),
        (("corpus.jsonl", "retriever=bm25"), "unknown retriever 'bm25': did you mean 'bm25s'?"),
        (("corpus.jsonl", "k2=1"), "retriever bm25s: unknown key 'k2'"),
        (("corpus.jsonl", "index=."), "index .: holds something else"),
    ],
)
def test_a_wrong_word_is_one_line(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    corpus(tmp_path, 3)
    done = index(tmp_path, *words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"agentgym: error: {said}")
    assert len(done.stderr.splitlines()) == 1


def test_what_was_built_is_described(tmp_path: Path) -> None:
    built = Bm25s(str(corpus(tmp_path, 20)), str(tmp_path / "index")).build(quiet)
    assert isinstance(built, Built)
    size = sum(len(data) for name, data in files(built.folder).items() if name != "manifest.json")
    assert (built.passages, built.skipped, built.size) == (20, {}, size)


def test_the_command_line_shows_what_is_found(tmp_path: Path) -> None:
    file = corpus(tmp_path)
    command = [sys.executable, "-m", "agentgym", "search", str(file), "number7", "-k", "2"]
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 0, done.stderr
    first, text, *others = done.stdout.splitlines()
    assert first.split()[1:] == ["7", "t7"]
    assert [text.strip(), *others] == ["tea number7 of many"]
    without = subprocess.run([*command[:4], *command[5:]], capture_output=True, text=True, env=env, timeout=60)
    assert without.returncode == 2
    assert "no corpus is given" in without.stderr
