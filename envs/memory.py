"""Memory-R1 (arXiv 2508.19828): a manager remembers a conversation that comes in parts, and an answerer, who has
seen nothing of it, is asked about it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from agentgym import locomo, qa
from agentgym.config import Spec
from agentgym.env import Demonstration, Env, StepResult, TaskSource
from agentgym.envs import memory_demos
from agentgym.envs.memory_bank import Bank, Refused
from agentgym.envs.memory_bank import Memory as Remembered
from agentgym.envs.memory_ranking import related
from agentgym.envs.tasks.source import task_source
from agentgym.errors import TaskError
from agentgym.protocol import Prompt, opening
from agentgym.protocols import memory_r1
from agentgym.protocols.memory_r1 import BadOperations, read_answered, read_operations
from agentgym.ranges import at_least, within
from agentgym.types import Message, Observation, Outcome, Task

if TYPE_CHECKING:
    from agentgym.services import Services

MANAGER, ANSWERER = "manager", "answerer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Parts of a conversation, one after the other, and then questions; each is seen alone, with memories.

    tasks, eval_tasks: see `tasks/source.py`; a task has info.parts, and info.questions where it has several.
    capacity: memories at a time; None: the task's own info.capacity, or any number. tries: turns that a part
    may take until its operations are possible; after that it is passed over. related: memories that a part is
    shown with; candidates: those that a question is. encoder: a Hugging Face model or its folder, whose
    vectors say which memories these are; without one, BM25. part_tokens, memory_tokens: of a part and of a
    memory that are shown. score: what an answer is paid: `em`, `f1` (see agentgym.qa) or `locomo` (see
    agentgym.locomo); an episode is paid their mean. prompt: as in ToolTurnsConfig. demo_error_rate: share of a
    demonstration's operations that are tossed for. demo_guess_rate: share of its answers that are any
    memory's.
    """

    agents: ClassVar[tuple[str, ...]] = (MANAGER, ANSWERER)

    tasks: Spec = "streams"
    eval_tasks: Spec | None = None
    capacity: int | None = None
    tries: int = 2
    related: int = 10
    candidates: int = 60
    encoder: str = ""
    part_tokens: int = 1024
    memory_tokens: int = 128
    score: Literal["em", "f1", "locomo"] = "em"
    prompt: Prompt = "auto"
    demo_error_rate: float = 0.0
    demo_guess_rate: float = 0.0

    def __post_init__(self) -> None:
        at_least(self, 1, "tries", "related", "candidates", "part_tokens", "memory_tokens", "capacity")
        within(self, 0, 1, "demo_error_rate", "demo_guess_rate")

    def make(self, services: Services) -> MemoryEnv:
        return MemoryEnv(self, services)

    def source(self) -> TaskSource:
        return task_source(self.tasks, self.eval_tasks)


class MemoryEnv(Env):
    """One episode.

    A step's info: tool_calls: operations carried out; malformed_calls: turns that could not be read or carried
    out, left out while there are none; memories: how many there are. Of a manager's turn: events: what it did,
    None where that was not possible; oracle: what a perfect manager does in its place, where the task says
    what its parts mean. Of an answerer's: em, f1, locomo where that is the score, selected (ids), and recall:
    share of the question's evidence that the memories it was shown come from, where the task names it. At the
    end: success (all right), answer (one a line), em, f1, locomo, recall as means, and each: those of each
    question.

    parts, questions: of the task. bank: what is remembered. shown: the memories that the policy sees now.
    """

    config: Memory

    def __init__(self, config: Memory, services: Services) -> None:
        super().__init__(config, services)
        self.bank = Bank()
        self.parts: list[Mapping[str, Any]] = []
        self.questions: list[Mapping[str, Any]] = []
        self.shown: list[Remembered] = []
        self._part = self._failed = self._calls = self._malformed = 0
        self._answers: list[tuple[str, dict[str, Any]]] = []

    async def start(self, task: Task, rng: random.Random) -> Observation:
        capacity = task.info.get("capacity") if self.config.capacity is None else self.config.capacity
        self.parts, self.questions = _parts(task), _questions(task)
        self.bank = Bank(capacity, bool(task.info.get("history", False)))
        self._part = self._failed = self._calls = self._malformed = 0
        self._answers = []
        return await self.show()

    async def act(self, action: str) -> StepResult:
        return await (self._manage(action) if self.agent == MANAGER else self._answer(action))

    async def _manage(self, action: str) -> StepResult:
        part = self.parts[self._part]
        facts: dict[str, Any] = {"events": None}
        if "says" in part or "stem" in self.questions[0]:
            facts["oracle"] = [operation.event for operation in memory_demos.oracle(part, self.bank)]
        try:
            operations = read_operations(action)
            self.bank = self.bank.apply(operations, str(part.get("id", self._part)))
        except (BadOperations, Refused) as error:
            self._malformed += 1
            self._failed += 1
            if self._failed < self.config.tries:
                told: list[Message] = [
                    {"role": "user", "content": self._safe(f"Error: {error}. Nothing was done.")}
                ]
                return StepResult(told, 0.0, False, False, self._facts(**facts))
        else:
            self._calls += len(operations)
            facts["events"] = [operation.event for operation in operations]
        self._part, self._failed = self._part + 1, 0
        return StepResult(await self.show(), 0.0, False, False, self._facts(anew=True, **facts))

    async def _answer(self, action: str) -> StepResult:
        question, said = self.questions[len(self._answers)], read_answered(action)
        facts = {**self.grade(question, said.answer), "selected": list(said.selected)}
        if said.answer is None:
            self._malformed += 1
        self._answers.append((said.answer or "", facts))
        reward = float(facts[self.config.score]) / len(self.questions)
        if len(self._answers) < len(self.questions):
            return StepResult(await self.show(), reward, False, False, self._facts(anew=True, **facts))
        return StepResult("", reward, True, False, self._facts(**self._sum_up(), outcome=Outcome.DONE))

    def grade(self, question: Mapping[str, Any], answer: str | None) -> dict[str, Any]:
        """What an answer is worth; None: there was none."""
        task = Task("", str(question["question"]), str(question["answer"]), question)
        golds, text = qa.right_answers(task), answer or ""
        scores = {"em": float(qa.exact_match(text, golds)), "f1": qa.f1(text, golds)}
        if self.config.score == "locomo":
            scores["locomo"] = locomo.score(text, task.answer, question.get("category", 0))
        if answer is None:
            scores = dict.fromkeys(scores, 0.0)
        if evidence := set(qa.texts(question.get("evidence"))):
            found = {source for memory in self.shown for source in memory.sources}
            scores["recall"] = len(evidence & found) / len(evidence)
        return scores

    def _sum_up(self) -> dict[str, Any]:
        """The means over all questions; of recall, over those that name their evidence."""
        rows = [facts for _, facts in self._answers]
        means = {
            name: fmean(row[name] for row in rows if name in row)
            for name in ("em", "f1", "locomo", "recall")
            if any(name in row for row in rows)
        }
        answers = "\n".join(answer for answer, _ in self._answers)
        return {**means, "success": means["em"] == 1.0, "answer": answers, "each": rows}

    async def show(self) -> Observation:
        """The next part or question, with the memories that go with it: a prompt of its own."""
        config, managing = self.config, self._part < len(self.parts)
        self.agent, self.stop = (MANAGER, ()) if managing else (ANSWERER, (memory_r1.STOP,))
        if managing:
            text = str(self.parts[self._part]["text"])
            memories, k, label, how = self.bank.live, config.related, "Part", memory_r1.HOW_TO_MANAGE
        else:
            text = str(self.questions[len(self._answers)]["question"])
            memories, k, label, how = self.bank.memories, config.candidates, "Question", memory_r1.HOW_TO_ANSWER
        self.shown = await related(text, memories, k, config.encoder, self.services)
        lines = [memory.now if managing else memory.line() for memory in self.shown]
        lines = [self._safe(line, config.memory_tokens) for line in lines]
        shown = "Memories:\n{}\n\n{}:\n{}".format("\n".join(lines) or "none", label, self._safe(text))
        return opening(shown, config.prompt, how)

    def _safe(self, text: str, max_tokens: int | None = None) -> str:
        """Data, whatever it looks like, and not too long."""
        return self.services.vocabulary.as_data(text, memory_r1.TAGS, max_tokens or self.config.part_tokens)

    def _facts(self, **more: Any) -> dict[str, Any]:
        facts = {"tool_calls": self._calls, "memories": len(self.bank.live)}
        return {**facts, **({"malformed_calls": self._malformed} if self._malformed else {}), **more}

    async def copy_to(self, twin: Env, seed: int | None) -> None:
        """Both share the bank, which never changes."""
        assert isinstance(twin, MemoryEnv)
        twin.parts, twin.questions, twin.bank = self.parts, self.questions, self.bank
        twin.shown, twin.agent, twin.stop = self.shown, self.agent, self.stop
        twin._part, twin._failed = self._part, self._failed
        twin._calls, twin._malformed = self._calls, self._malformed
        twin._answers = list(self._answers)

    def demonstrate(self, rng: random.Random) -> Demonstration:
        """A perfect manager and answerer, but for the config's rates of errors."""
        return memory_demos.demonstrate(self, rng)


def _parts(task: Task) -> list[Mapping[str, Any]]:
    parts: Sequence[Any] = task.info.get("parts") or ()
    found = [{"text": part} if isinstance(part, str) else part for part in parts]
    if not found or not all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in found):
        has = ", ".join(task.info) or "nothing"
        raise TaskError(f"task {task.id!r} needs parts, a list of texts or of objects with a text; it has {has}")
    return found


def _questions(task: Task) -> list[Mapping[str, Any]]:
    questions: Sequence[Any] = task.info.get("questions") or [
        {**task.info, "question": task.prompt, "answer": task.answer}
    ]
    if not all(isinstance(row, Mapping) and {"question", "answer"} <= row.keys() for row in questions):
        raise TaskError(f"task {task.id!r}: info.questions must be objects with a question and an answer")
    return list(questions)
