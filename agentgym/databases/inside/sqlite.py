"""SQLite in memory, under an authorizer."""

from __future__ import annotations

import random
import re
import sqlite3
from pathlib import Path

from agentgym.database import Access, Table, Template, quoted
from agentgym.databases.inside.engine import GiveWay, Refused, fetch, fetch_whole

MAX_VALUE = 4 << 20
LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: MAX_VALUE,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 50,
}
READ = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
WRITE = READ | {
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_UPDATE,
    sqlite3.SQLITE_DELETE,
    sqlite3.SQLITE_CREATE_TABLE,
    sqlite3.SQLITE_CREATE_TEMP_TABLE,
    sqlite3.SQLITE_CREATE_INDEX,
    sqlite3.SQLITE_CREATE_TEMP_INDEX,
    sqlite3.SQLITE_CREATE_VIEW,
    sqlite3.SQLITE_CREATE_TEMP_VIEW,
    sqlite3.SQLITE_CREATE_TRIGGER,
    sqlite3.SQLITE_CREATE_TEMP_TRIGGER,
    sqlite3.SQLITE_DROP_TABLE,
    sqlite3.SQLITE_DROP_TEMP_TABLE,
    sqlite3.SQLITE_DROP_INDEX,
    sqlite3.SQLITE_DROP_TEMP_INDEX,
    sqlite3.SQLITE_DROP_VIEW,
    sqlite3.SQLITE_DROP_TEMP_VIEW,
    sqlite3.SQLITE_DROP_TRIGGER,
    sqlite3.SQLITE_DROP_TEMP_TRIGGER,
    sqlite3.SQLITE_ALTER_TABLE,
    sqlite3.SQLITE_REINDEX,
    sqlite3.SQLITE_ANALYZE,
}
ALLOWED: dict[Access, set[int]] = {
    "read": READ,
    "write": WRITE,
    "transaction": WRITE | {sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT},
}
TOLD = {  # what is refused, as a policy is told
    sqlite3.SQLITE_ATTACH: "ATTACH",
    sqlite3.SQLITE_DETACH: "DETACH",
    sqlite3.SQLITE_CREATE_VTABLE: "CREATE VIRTUAL TABLE",
    sqlite3.SQLITE_TRANSACTION: "a transaction",
    sqlite3.SQLITE_SAVEPOINT: "a savepoint",
}
PRAGMAS = {
    *("table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo", "foreign_key_list"),
}
FORBIDDEN_FUNCTIONS = {"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"}
NAMED = re.compile(r"(?:no such \w+|ambiguous column name|table \w+ has no column named):? ([^\s()]+)")
"""Complaints about a name."""
TEXTS = re.compile("'[^']*'")
SHOWN = "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
WAL = slice(18, 20)
"""Bytes of a file's header that say whether it has a write-ahead log, which none in memory has."""


class Sqlite:
    """One connection. Its random numbers are the same in all worlds of a template, and go on the same in forks."""

    def __init__(self, template: Template) -> None:
        self.access: Access = "read"
        self.refusal = ""
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.text_factory = lambda data: data.decode(errors="replace")
        if template.file:
            data = bytearray(Path(template.file).read_bytes())
            data[WAL] = b"\1\1"
            self.connection.deserialize(bytes(data))
        self.connection.executescript(template.script)
        self.connection.execute("SELECT count(*) FROM sqlite_master").fetchall()

    def lock(self, memory: int) -> None:
        """See Engine."""
        used = (
            2
            * self.connection.execute(
                "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
            ).fetchone()[0]
        )
        self.connection.execute("PRAGMA temp_store = MEMORY")
        self.connection.execute(f"PRAGMA hard_heap_limit = {used + memory}")
        rng = random.Random(0)
        self.connection.create_function("random", 0, lambda: rng.getrandbits(64) - (1 << 63))
        self.connection.create_function("randomblob", 1, lambda size: rng.randbytes(min(max(size, 1), MAX_VALUE)))
        for pragma in PRAGMAS:  # makes its table, which the authorizer would take for a policy's
            self.connection.execute(f"SELECT * FROM pragma_{pragma}('')").close()
        for limit, most in LIMITS.items():
            self.connection.setlimit(limit, most)
        self.connection.set_authorizer(self.authorize)

    def authorize(
        self, action: int, first: str | None, second: str | None, database: str | None, trigger: str | None
    ) -> int:
        """SQLite asks this of everything that a statement would do."""
        if action == sqlite3.SQLITE_PRAGMA:
            allowed = (first or "").lower() in PRAGMAS
            told = f"PRAGMA {first}"
        elif action == sqlite3.SQLITE_FUNCTION:
            allowed = (second or "").lower() not in FORBIDDEN_FUNCTIONS
            told = f"the function {second}"
        else:
            allowed = action in ALLOWED[self.access]
            told = TOLD.get(action, "changing the database" if action in WRITE else "this")
        if not allowed:
            self.refusal = f"{told} is not allowed here"
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

    def execute(self, sql: str, max_rows: int, access: Access) -> Table:
        """See Engine."""
        self.access, self.refusal = access, ""
        try:
            cursor = self.connection.execute(sql)
            if cursor.description is None:
                return Table((), ()) if cursor.rowcount < 0 else Table(("Count",), ((cursor.rowcount,),))
            return fetch(cursor, [name for name, *_ in cursor.description], max_rows)
        except MemoryError:
            raise GiveWay("it takes too much memory") from None
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise Refused(self.refusal or self.explain(sql, str(error))) from None

    def explain(self, sql: str, complaint: str) -> str:
        """The library's complaint, and where in the statement it is about."""
        place = self.find(sql, complaint)
        return complaint if place is None else f"{complaint}\n{point(sql, place)}"

    def find(self, sql: str, complaint: str) -> int | None:
        """Where the word stands that the complaint is about; of several, where the parser first stumbles."""
        if near := re.fullmatch(r'near "(.+)": syntax error', complaint, re.DOTALL):
            ends = (found.end() for found in re.finditer(re.escape(near[1]), sql))
            return next((end - len(near[1]) for end in ends if self.complaint(sql[:end]) == complaint), None)
        if complaint == "incomplete input":
            return len(sql.rstrip())
        word = NAMED.match(complaint)
        names = TEXTS.sub(lambda text: " " * len(text[0]), sql)
        found = re.search(rf"(?<!\w){re.escape(word[1])}(?!\w)", names, re.IGNORECASE) if word else None
        return found.start() if found else None

    def complaint(self, sql: str) -> str:
        """What the library has to say of a statement that is not run."""
        try:
            self.connection.execute(f"EXPLAIN {sql}").close()
        except (sqlite3.Error, sqlite3.Warning) as error:
            return str(error)
        return ""

    def state(self) -> dict[str, Table]:
        """See Engine."""
        self.access = "read"
        try:
            return {name: self.table(name) for (name,) in self.connection.execute(SHOWN).fetchall()}
        except sqlite3.Error as error:  # the policy has broken it
            raise Refused(str(error)) from None

    def table(self, name: str) -> Table:
        """One of them, and not a temporary one of its name."""
        cursor = self.connection.execute(f"SELECT * FROM main.{quoted(name)}")
        return fetch_whole(cursor, [column for column, *_ in cursor.description])


def point(sql: str, place: int) -> str:
    """The line of the statement in which the place is, with a mark below it."""
    start = sql.rfind("\n", 0, place) + 1
    line = sql[start:].partition("\n")[0]
    head = f"LINE {sql.count(chr(10), 0, place) + 1}: "
    return f"{head}{line}\n{' ' * (len(head) + place - start)}^"
