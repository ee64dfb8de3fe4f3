"""Tasks for tests of the environment `sql`: a shop in both dialects, answered in all three ways."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Literal

from agentgym.env import Split
from agentgym.types import Task

SHOP = """
CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, price REAL, stock INTEGER);
INSERT INTO items VALUES (1, 'lamp', 20.5, 3), (2, 'desk', 99.0, 1), (3, 'chair', 45.25, 8), (4, 'vase', NULL, 0);
CREATE TABLE sales (item INTEGER, amount INTEGER);
INSERT INTO sales VALUES (1, 2), (1, 5), (3, 4), (2, 1);
"""
OTHER = """
CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, price REAL, stock INTEGER);
INSERT INTO items VALUES (1, 'chair', 12.5, 2), (2, 'lamp', 7.0, 11), (3, 'sofa', 450.0, 5), (4, 'bench', 60.0, 1);
CREATE TABLE sales (item INTEGER, amount INTEGER);
INSERT INTO sales VALUES (1, 3), (2, 9), (2, 30);
"""
DEAR = "SELECT name FROM items WHERE price > 40 ORDER BY price"
SOLD = "SELECT sum(amount) FROM sales WHERE item = (SELECT id FROM items WHERE name = 'lamp')"
RESTOCK = [
    "UPDATE items SET stock = stock + 10 WHERE name = 'lamp'",
    "DELETE FROM sales WHERE item = 3",
    "INSERT INTO items VALUES (5, 'rug', 60, 2)",
]


@dataclass(frozen=True, slots=True)
class ShopTasks:
    """dialect: of the shop's database."""

    dialect: Literal["sqlite", "duckdb"] = "sqlite"

    def tasks(self) -> list[Task]:
        """One for each kind of answer."""
        first, second = ({"dialect": self.dialect, "script": script} for script in (SHOP, OTHER))
        query: dict[str, Any] = {"database": first, "second": second, "gold": DEAR, "answers_with": "query"}
        value = {
            "database": first,
            "gold": SOLD,
            "answers_with": "value",
            "steps": ["SELECT id FROM items WHERE name = 'lamp'", "SELECT sum(amount) FROM sales WHERE item = {}"],
        }
        state = {"database": first, "gold": RESTOCK, "answers_with": "state"}
        return [
            Task("query", "Which items cost more than 40? Cheapest first.", DEAR, query),
            Task("value", "How many of the item lamp were sold?", "7", value),
            Task(
                "state",
                "Ten more lamps came in. Forget the sales of chairs. Add the rug.",
                "; ".join(RESTOCK),
                state,
            ),
        ]

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        tasks = self.tasks()
        return tasks if n is None else rng.choices(tasks, k=n)
