"""A maze of rooms, where it is known which moves are certain: for trying out how rollouts explore and branch."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentgym.config import Spec
from agentgym.env import Demonstration, Env, StepResult, TaskSource
from agentgym.envs.tasks.mazes import DOORS
from agentgym.envs.tasks.source import task_source
from agentgym.ranges import at_least, within
from agentgym.types import Outcome, Task

if TYPE_CHECKING:
    from agentgym.services import Services

STOP = "</go>"
HOW = "Go through a door by writing <go>door</go>."
_GO = re.compile(r"<go>(.*?)</go>", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Maze:
    """Walk through rooms to the end; a wrong door is noticed there only. See `tasks/mazes.py`.

    tasks, eval_tasks: see `tasks/source.py`. max_turns: moves, those against a wall as well. reward_right,
    reward_wrong: paid at the end. demo_guess_rate: share of rooms in which the demonstrator takes any door, as one
    who does not know the signs.
    """

    tasks: Spec = "mazes"
    eval_tasks: Spec | None = None
    max_turns: int = 16
    reward_right: float = 1.0
    reward_wrong: float = 0.0
    demo_guess_rate: float = 0.0

    def __post_init__(self) -> None:
        at_least(self, 1, "max_turns")
        within(self, 0, 1, "demo_guess_rate")

    def make(self, services: Services) -> MazeEnv:
        return MazeEnv(self, services)

    def source(self) -> TaskSource:
        return task_source(self.tasks, self.eval_tasks)


class MazeEnv(Env):
    """One episode."""

    stop = (STOP,)
    config: Maze

    def __init__(self, config: Maze, services: Services) -> None:
        super().__init__(config, services)
        self._room = self._moves = 0
        self._lost = False

    async def start(self, task: Task, rng: random.Random) -> str:
        self._room = self._moves = 0
        self._lost = False
        return f"{task.prompt} {HOW}{self._look(task)}"

    async def act(self, action: str) -> StepResult:
        assert self.task is not None, "reset() comes first"
        found = _GO.search(action)
        if found is None:
            return self._end(terminated=True, outcome=Outcome.DONE)  # it says no more
        self._moves += 1
        door = found[1].strip()
        if door in exits(self.task, self._room):
            self._lost |= door != self.task.info["rooms"][self._room]["way"]
            self._room += 1
        if self._room == len(self.task.info["rooms"]):
            return self._end(terminated=True, outcome=Outcome.DONE)
        if self._moves >= self.config.max_turns:
            return self._end(terminated=False, outcome=Outcome.MAX_TURNS)
        return StepResult(self._look(self.task), 0.0, False, False, {"tool_calls": self._moves})

    async def copy_to(self, twin: Env, seed: int | None) -> None:
        assert isinstance(twin, MazeEnv)
        twin._room, twin._moves, twin._lost = self._room, self._moves, self._lost

    def demonstrate(self, rng: random.Random) -> Demonstration:
        assert self.task is not None, "reset() comes first"
        return _demonstrate(self.task, rng, self.config.demo_guess_rate)

    def unfinished_reward(self) -> float:
        return self.config.reward_wrong

    def _look(self, task: Task) -> str:
        sign = task.info["rooms"][self._room]["sign"]
        return f"\n{f'Sign: {sign}. ' if sign else ''}Doors: {', '.join(exits(task, self._room))}.\n"

    def _end(self, terminated: bool, outcome: Outcome) -> StepResult:
        assert self.task is not None
        out = self._room == len(self.task.info["rooms"]) and not self._lost
        info: dict[str, Any] = {"tool_calls": self._moves, "success": out, "outcome": outcome}
        reward = self.config.reward_right if out else self.config.reward_wrong
        return StepResult("", reward, terminated, not terminated, info)


def exits(task: Task, room: int) -> tuple[str, ...]:
    """The doors of a room: a corridor's only one, or a hall's."""
    here = task.info["rooms"][room]
    return DOORS[: task.info["doors"]] if here["sign"] else (here["way"],)


def _demonstrate(task: Task, rng: random.Random, guess_rate: float) -> Demonstration:
    for room, here in enumerate(task.info["rooms"]):
        guesses = rng.random() < guess_rate
        door = rng.choice(exits(task, room)) if guesses else here["way"]
        yield f"<go>{door}{STOP}"
