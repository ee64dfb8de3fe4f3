"""Passages from files, one after the other, with an account of every row that is none."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgspec

from agentgym.errors import TaskError
from agentgym.retriever import Passage, Skipped

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
MAX_LINE = 64 * 2**20  # bytes; a longer line is skipped, so that a file without line breaks fills no memory
EXAMPLES = 3
_ROWS = 1024  # of a parquet file, read at a time
_IDS = ("doc_id", "id", "_id")
_TEXTS = ("text", "contents")
_decode = msgspec.json.Decoder().decode


@dataclass(slots=True)
class Account:
    """What became of a corpus's rows. skipped: by reason."""

    passages: int = 0
    skipped: dict[str, Skipped] = field(default_factory=dict)

    def skip(self, reason: str, example: str) -> None:
        """One row more is left out."""
        skipped = self.skipped.setdefault(reason, Skipped())
        skipped.count += 1
        if len(skipped.examples) < EXAMPLES:
            skipped.examples.append(example)

    def check(self, paths: Sequence[str | Path]) -> None:
        """Raises TaskError for a corpus without passages."""
        if not self.passages:
            found = "; ".join(reason.examples[0] for reason in self.skipped.values())
            raise TaskError(f"corpus {', '.join(map(str, paths))}: no passages in it{found and f': {found}'}")


class _Bad(Exception):
    """A row that is no passage. reason: the same text for all rows of its sort."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def read_corpus(
    paths: Sequence[str | Path], account: Account | None = None, strict: bool = False
) -> Iterator[Passage]:
    """The passages of .jsonl, .jsonl.gz and .parquet files, in their order.

    A row has `doc_id`, `id` or `_id` (else the file's name and the row's number), `title`, and `text` or
    `contents` (Search-R1's and pyserini's, whose first line is the title); its other fields go into `more`. A row
    that is no passage, or whose id came before, is left out and counted in `account`; `strict` makes it a
    TaskError. A file that cannot be read to its end is one anyway. Takes memory for a row at a time, and about 80
    bytes for each id.
    """
    account = Account() if account is None else account
    seen: set[bytes] = set()
    stems = [_stem(Path(path)) for path in paths]
    for path, stem in zip(map(Path, paths), stems, strict=True):
        name = stem if stems.count(stem) == 1 else str(path)
        for where, row in _rows(path):
            try:
                passage = _passage(row, f"{name}-{where}")
                key = hashlib.blake2b(passage.id.encode(), digest_size=8).digest()
                if key in seen:
                    raise _Bad("an id that came before", repr(passage.id))
            except _Bad as bad:
                detail = f" ({bad.detail})" if bad.detail else ""
                example = f"{path}:{where}: {bad.reason}{detail}"
                if strict:
                    raise TaskError(f"corpus {example}") from bad
                account.skip(bad.reason, example)
                continue
            seen.add(key)
            account.passages += 1
            yield passage


def check_files(paths: Sequence[str | Path]) -> None:
    """Raises TaskError for a file that does not exist or is of no known form."""
    if not paths:
        raise TaskError("corpus: no files are given")
    for path in map(Path, paths):
        if not path.name.endswith(SUFFIXES):
            raise TaskError(f"corpus {path}: {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} is needed")
        if not path.is_file():
            raise TaskError(f"corpus {path}: {'not a file' if path.exists() else 'no such file'}")


def _rows(path: Path) -> Iterator[tuple[int, bytes | dict[str, Any]]]:
    """Each row with its number, from 1. A line is still to be decoded."""
    check_files([path])
    try:
        if path.suffix == ".parquet":
            yield from _parquet(path)
        elif path.suffix == ".gz":
            with gzip.open(path) as lines:
                yield from _lines(lines)
        else:
            with path.open("rb") as lines:
                yield from _lines(lines)
    except (OSError, EOFError, zlib.error) as error:
        raise TaskError(f"corpus {path}: cannot be read to its end: {error}") from error


def _lines(file: IO[bytes] | gzip.GzipFile) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := file.readline(MAX_LINE):
        number += 1
        if len(line) == MAX_LINE:
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_LINE)
            yield number, b""
        elif line.strip():
            yield number, line


def _parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pa.ArrowException, ValueError) as error:
        raise TaskError(f"corpus {path}: not a whole Parquet file (after row {number}): {error}") from error


def _passage(row: bytes | dict[str, Any], otherwise: str) -> Passage:
    """The passage in a row; `otherwise` is its id if it has none. Raises _Bad."""
    fields = _object(row) if isinstance(row, bytes) else row
    id_key = next((key for key in _IDS if fields.get(key) not in (None, "")), None)
    text_key = next((key for key in _TEXTS if fields.get(key) is not None), None)
    if text_key is None:
        raise _Bad("no text and no contents", f"it has {', '.join(fields) or 'nothing'}"[:120])
    text = fields[text_key]
    if not isinstance(text, str):
        raise _Bad(f"{text_key} is no string", type(text).__name__)
    title = _name(fields, "title")
    if text_key == "contents" and not title and "\n" in text:
        title, text = text.split("\n", 1)
        title = title.strip().removeprefix('"').removesuffix('"')
    if not text.strip() and not title.strip():
        raise _Bad("an empty text without a title")
    more = {key: value for key, value in fields.items() if key not in (id_key, text_key, "title")}
    return Passage(_name(fields, id_key) if id_key else otherwise, title, text, more)


def _name(fields: dict[str, Any], key: str) -> str:
    """A field that is a short text or a number."""
    value = fields.get(key)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _Bad(f"{key} is no string", type(value).__name__)
    return str(value)


def _object(line: bytes) -> dict[str, Any]:
    if not line:
        raise _Bad(f"a line longer than {MAX_LINE // 2**20} MiB")
    if b"\0" in line:
        raise _Bad("a NUL byte")
    try:
        row = _decode(line.removeprefix(b"\xef\xbb\xbf"))
    except msgspec.DecodeError as error:
        raise _Bad("not JSON", str(error)) from error
    except UnicodeDecodeError as error:
        raise _Bad("not UTF-8", str(error)) from error
    except RecursionError as error:
        raise _Bad("nested too deeply") from error
    if not isinstance(row, dict):
        raise _Bad("not a JSON object", type(row).__name__)
    return row


def _stem(path: Path) -> str:
    return next((path.name.removesuffix(suffix) for suffix in SUFFIXES if path.name.endswith(suffix)), path.name)
