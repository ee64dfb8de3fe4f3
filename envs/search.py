"""Search-R1 (arXiv 2503.09516): reason, search a corpus in between, answer; with `judge`, ReSeek's (arXiv
2510.00568) judgement of every result."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from agentgym import qa
from agentgym.config import Spec
from agentgym.env import Demonstration, Env, StepResult, TaskSource
from agentgym.envs import search_demos
from agentgym.envs.misleading import MisleadingSearch
from agentgym.envs.tool_turns import ToolTurnsConfig, ToolTurnsEnv
from agentgym.errors import ConfigError, TaskError
from agentgym.models.reranker import Reranker
from agentgym.protocol import Malformed, Said
from agentgym.protocols.reseek import Judgement, split_judgement
from agentgym.ranges import within
from agentgym.tool import Toolset
from agentgym.tooling.load import Instance
from agentgym.tools.search import Search as SearchTool
from agentgym.tools.search import render
from agentgym.types import Message, Outcome, Task

if TYPE_CHECKING:
    from agentgym.retriever import Passage
    from agentgym.services import Services

WORLD = "agentgym.envs.worlds.index:WorldIndex"
JUDGE = """\
After every result say first whether it helps: <judge>Yes</judge> or <judge>No</judge>. After No, search again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search(ToolTurnsConfig):
    """A question, a corpus to search, one short answer.

    Fields as in ToolTurnsConfig, and: retriever: what is searched by what, `bm25s` where a table names none; None:
    the task's own invented world (tasks `fictional`). k: passages a result has. timeout: seconds a search may
    take. observation_tokens: of a result that the policy sees. score: what is paid: `em` (the answer's words are
    the right ones) or `f1` (how many of them are). judge: whether each result must be judged before the policy
    goes on, and whether one judged useless is kept in its context or dropped; after No it must search again.
    mislead: share of the searches that are answered with passages which lead astray, and others with none of those
    (worlds only). reranker: a model whose score of a result with the right answer, above reranker_threshold, makes
    it useful; without one a result is useful that has a gold passage in it. demo_direct_rate: chance, at each
    step, that a demonstration gives up and answers `unknown`. demo_easy_rate: the same for easy tasks, whose
    question says the answer: it is given. demo_error_rate: share of a demonstration's judgements that are tossed
    for.
    """

    runs_programs: ClassVar[bool] = False

    tasks: Spec = "fictional"
    retriever: Spec | None = None
    k: int = 3
    observation_tokens: int = 500
    timeout: float = 90.0
    score: Literal["em", "f1"] = "em"
    judge: Literal["off", "keep", "drop"] = "off"
    mislead: float = 0.0
    reranker: str = ""
    reranker_threshold: float = 0.7
    demo_direct_rate: float = 0.0
    demo_easy_rate: float = 1.0
    demo_error_rate: float = 0.0

    def __post_init__(self) -> None:
        ToolTurnsConfig.__post_init__(self)
        within(
            self, 0, 1, "mislead", "reranker_threshold", "demo_direct_rate", "demo_easy_rate", "demo_error_rate"
        )
        if isinstance(self.retriever, dict):
            object.__setattr__(self, "retriever", {"name": "bm25s", **self.retriever})
        if self.mislead and self.retriever is not None:
            raise ValueError("mislead is for invented worlds, whose passages say which of them lead astray")
        self.tool(self.retriever or {"name": WORLD, "seed": 0})  # what is wrong is wrong before anything is played

    def make(self, services: Services) -> SearchEnv:
        return SearchEnv(self, services)

    def tool_specs(self) -> list[Spec]:
        return [{"name": "search", "retriever": self.retriever or {"name": WORLD, "seed": 0}}]

    def source(self) -> TaskSource:
        tasks = self.tasks if isinstance(self.tasks, str) else self.tasks.get("name")
        if self.retriever is not None and tasks == "fictional":
            raise ConfigError(
                "env search: a retriever is given, but the tasks are still those about invented worlds, which it "
                "does not search: say which questions, as in env.tasks=FILE.jsonl"
            )
        return ToolTurnsConfig.source(self)

    def protocol_spec(self) -> Spec:
        return "search_r1" if self.judge == "off" else "reseek"

    def tool(self, retriever: Spec) -> SearchTool:
        """The tool of an episode."""
        fields: dict[str, Any] = {"k": self.k, "timeout": self.timeout, "max_tokens": self.observation_tokens}
        if self.mislead:
            return MisleadingSearch(retriever, share=self.mislead, **fields)
        return SearchTool(retriever, **fields)


class SearchEnv(ToolTurnsEnv):
    """One episode.

    A step's info, beside what ToolTurnsEnv reports: recall: share of the task's gold passages (info.gold_doc_ids)
    that were shown so far. Of a step that judged a result: judged: yes or no; useful: whether the result had a
    gold passage in it. At the end: em, f1.
    """

    config: Search
    goal = "Answer the question. You can search a collection of texts while you think."

    def toolsets(self, task: Task) -> Sequence[Toolset]:
        retriever = self.config.retriever or {"name": WORLD, **_world(task)}
        return [Instance(self.config.tool(retriever), "search")]

    async def start(self, task: Task, rng: random.Random) -> list[Message]:
        self._judgement: Judgement | None = None
        self._judged = 0  # results that the policy has judged
        self._useful = self._rejected = False  # the last result: what it is, and what was said of it
        return await ToolTurnsEnv.start(self, task, rng)

    def instructions(self) -> str:
        told = ToolTurnsEnv.instructions(self)
        return told if self.config.judge == "off" else f"{told}\n\n{JUDGE}"

    @property
    def search(self) -> SearchTool:
        """The episode's search, which knows what it found."""
        tool: SearchTool = self.box.target("search")
        return tool

    def read(self, action: str) -> Said:
        self._judgement = None
        if self.config.judge == "off":
            return ToolTurnsEnv.read(self, action)
        judgement, rest = split_judgement(action)
        waiting = self._judged < len(self.search.found)
        if waiting and judgement is None:
            return Said((Malformed("Error: judge the result first: <judge>Yes</judge> or <judge>No</judge>."),))
        said = ToolTurnsEnv.read(self, rest)
        if waiting:
            self._judgement = judgement
            self._judged = len(self.search.found)
            self._rejected = judgement == "no"
        if self._rejected and not said.calls:
            return Said((Malformed("Error: you judged the result useless, so search again before answering."),))
        return said

    async def act(self, action: str) -> StepResult:
        before = len(self.search.found)
        result = await ToolTurnsEnv.act(self, action)
        if self.config.judge != "off" and len(self.search.found) > before:
            self._rejected = False
            self._useful = await self._is_useful(self.search.found[-1])
        return result

    async def _is_useful(self, passages: Sequence[Passage]) -> bool:
        """What a judgement of the result should say."""
        assert self.task is not None
        if not self.config.reranker:
            return bool(self._gold & {passage.id for passage in passages})
        reranker = await self.services.get(Reranker(self.config.reranker))
        return await reranker.score(self.task.answer, render(passages)) > self.config.reranker_threshold

    async def finish(self, answer: str | None) -> StepResult:
        assert self.task is not None
        config, golds = self.config, qa.right_answers(self.task)
        em = answer is not None and qa.exact_match(answer, golds)
        f1 = 0.0 if answer is None else qa.f1(answer, golds)
        score = float(em) if config.score == "em" else f1
        reward = config.reward_right * score + config.reward_wrong * (1 - score)
        info = self.facts(success=em, em=float(em), f1=f1, answer=answer, outcome=Outcome.DONE)
        return StepResult("", reward, True, False, info)

    async def copy_to(self, twin: Env, seed: int | None) -> None:
        assert isinstance(twin, SearchEnv)
        await ToolTurnsEnv.copy_to(self, twin, seed)
        twin._judged, twin._judgement = self._judged, None
        twin._useful, twin._rejected = self._useful, self._rejected

    def facts(self, **more: Any) -> dict[str, Any]:
        facts = ToolTurnsEnv.facts(self, **more)
        if gold := self._gold:
            found = {passage.id for passages in self.search.found for passage in passages}
            facts["recall"] = len(gold & found) / len(gold)
        if self._judgement:
            facts |= {"judged": self._judgement, "useful": self._useful}
            if self._judgement == "no" and self.config.judge == "drop" and "outcome" not in more:
                facts["forget"] = True
        return facts

    def demonstrate(self, rng: random.Random) -> Demonstration:
        """Searches for one fact after the other, and judges by the gold passages."""
        return search_demos.demonstrate(self, rng)

    @property
    def _gold(self) -> set[str]:
        assert self.task is not None
        return set(qa.texts(self.task.info.get("gold_doc_ids")))


def _world(task: Task) -> dict[str, Any]:
    world = task.info.get("world")
    if not isinstance(world, dict):
        raise TaskError(
            f"task {task.id!r} brings no world to search in: say which corpus, as in "
            "env.retriever.corpus=FILE.jsonl"
        )
    return world
