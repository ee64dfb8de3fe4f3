"""What an LLM thinks of the answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from agentgym.boxed import last_boxed
from agentgym.config import Spec, build, to_table
from agentgym.errors import LlmError
from agentgym.ranges import at_least
from agentgym.trainers.signals.episodes import answer_of, valid_episodes
from agentgym.types import Group, Outcome, Task, Turn

if TYPE_CHECKING:
    from agentgym.services import Services
    from agentgym.trainers.judging import Judge


@dataclass(frozen=True)
class LlmJudge:
    r"""Signal "judge": an LLM's score of the policy's answer beside the right one, from 0 to 1.

    llm: who judges. top: the best score; 2 has a middle for answers that are right in part (Med-R3, arXiv
    2507.23541). votes: verdicts on an answer, of which the median counts. temperature: they are sampled at.
    max_tokens: of a verdict. answer_tokens: of an answer that are shown. cache: answers whose score is remembered
    in the run. max_questions: answers it may be asked about in the run; beyond, it fails.

    The answer is the environment's info["answer"], else the last \boxed{} of the last turn, else that whole turn;
    none at all scores 0, unasked. An episode without a verdict becomes judge_error, and nobody learns from it.
    """

    llm: Spec
    top: Literal[1, 2] = 1
    votes: int = 1
    temperature: float = 0.0
    max_tokens: int = 512
    answer_tokens: int = 1024
    cache: int = 65536
    max_questions: int | None = None

    def __post_init__(self) -> None:
        at_least(self, 1, "votes", "max_tokens", "answer_tokens", "cache")
        if self.votes % 2 == 0:
            raise ValueError(f"votes must be odd, so that there is a median, not {self.votes}")
        if self.votes > 1 and not self.temperature:
            raise ValueError(
                f"{self.votes} votes at temperature 0 are one vote; set temperature, to 1 for example"
            )
        build("llm", self.llm)  # raises ConfigError now, and not once episodes are played

    def __hash__(self) -> int:
        return hash(json.dumps(to_table(self), sort_keys=True))

    async def open(self) -> Judge:
        """The judge of a run, as one of its services."""
        from agentgym.trainers.judging import Judge

        return Judge(self)

    async def __call__(self, group: Group, services: Services) -> None:
        llm = await services.get(build("llm", self.llm))
        judge = await services.get(self)  # and so closed first
        question = _text(group.task)

        async def score(turn: Turn, answer: str) -> None:
            shown = services.vocabulary.clip(answer, self.answer_tokens)
            try:
                turn.signals["judge"] = await judge.score(llm, question, group.task.answer, shown) / self.top
            except LlmError as error:
                turn.outcome = Outcome.JUDGE_ERROR
                turn.info["error"] = f"{type(error).__name__}: {error}"

        await asyncio.gather(*(score(turn, answer) for turn, answer in _answers(group)))

    async def metrics(self, services: Services) -> dict[str, float]:
        """Since the run was started: questions asked and found in the cache, verdicts that were not to be had, and
        what the LLM has used, for others as well if they ask the same one."""
        judge = await services.get(self)
        spent = (await services.get(build("llm", self.llm))).spent
        return {
            "judge/questions": judge.questions,
            "judge/cached": judge.cached,
            "judge/failed": judge.failed,
            "judge/tokens": spent.tokens,
            "judge/cost": spent.cost,
        }


def _answers(group: Group) -> Iterator[tuple[Turn, str]]:
    """What is to be judged, one for each leaf. Answers that are none get their score at once."""
    for turns in valid_episodes(group):
        last = turns[-1]
        answer = answer_of(last) if "answer" in last.info else last_boxed(last.text) or last.text
        if answer is None or not answer.strip():
            last.signals["judge"] = 0.0
        else:
            yield last, answer


def _text(task: Task) -> str:
    prompt = task.prompt
    return prompt if isinstance(prompt, str) else "\n\n".join(message["content"] for message in prompt)
