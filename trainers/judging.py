"""A judge at work: one question for each different answer, votes, and a bounded memory."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from statistics import median
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from agentgym.errors import BudgetSpent, LlmError
from agentgym.llms.quote import RULE, quote
from agentgym.llms.structured import ask
from agentgym.types import Message

if TYPE_CHECKING:
    from agentgym.llm import Llm
    from agentgym.trainers.signals.llm_judge import LlmJudge

TASK = (
    "You grade answers. Compare the given answer with the right one and score what it says, not how it says it: "
    "{scale}. An answer that says several things of which only some can be right is not right. " + RULE
)
SCALES = {
    1: "1 if it means the same, else 0",
    2: "2 if it means the same, 1 if it is right in part and nothing in it is wrong, else 0",
}


class Verdict(Struct, forbid_unknown_fields=True):
    """reason: comes first, so that the model has thought before it scores."""

    reason: str
    score: Annotated[int, Meta(ge=0, le=1)]


class GradedVerdict(Struct, forbid_unknown_fields=True):
    """The same with a middle."""

    reason: str
    score: Annotated[int, Meta(ge=0, le=2)]


class Judge:
    """questions: answers that an LLM was asked about. cached: those that had been asked about before. failed:
    questions without a verdict."""

    def __init__(self, config: LlmJudge) -> None:
        self.config = config
        self.questions = self.cached = self.failed = 0
        self._known: OrderedDict[tuple[str, str, str], asyncio.Task[int]] = OrderedDict()

    async def score(self, llm: Llm, question: str, right: str, answer: str) -> int:
        """From 0 to `top`. Who asks what is being asked waits for the same verdict; failures are not remembered.
        Raises LlmError."""
        key = (question, right, answer)
        asking = self._known.get(key)
        if asking is None:
            asking = self._known[key] = asyncio.create_task(self._ask(llm, *key))
            asking.add_done_callback(lambda task: self._forget(key, task))
        else:
            self.cached += 1
            self._known.move_to_end(key)
        return await asyncio.shield(asking)

    async def close(self) -> None:
        """End the questions that nobody waits for any more."""
        asking = [task for task in self._known.values() if not task.done()]
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _ask(self, llm: Llm, question: str, right: str, answer: str) -> int:
        config = self.config
        if config.max_questions is not None and self.questions >= config.max_questions:
            raise BudgetSpent(f"llm_judge: max_questions={config.max_questions} are asked")
        self.questions += 1
        texts = {"Question": question, "Right answer": right, "Given answer": answer}
        shown = "\n\n".join(f"{name}:\n{quote(text)}" for name, text in texts.items())
        messages: list[Message] = [
            {"role": "system", "content": TASK.format(scale=SCALES[config.top])},
            {"role": "user", "content": shown},
        ]
        kind: type[Verdict | GradedVerdict] = Verdict if config.top == 1 else GradedVerdict
        try:
            verdicts = await ask(
                llm,
                messages,
                kind,
                n=config.votes,
                temperature=config.temperature,
                max_tokens=config.max_tokens,
            )
        except LlmError:
            self.failed += 1
            raise
        return int(median(verdict.score for verdict in verdicts))

    def _forget(self, key: tuple[str, str, str], task: asyncio.Task[int]) -> None:
        """A failure at once; the verdicts that were looked at longest ago when there are too many."""
        if task.cancelled() or task.exception():
            self._known.pop(key, None)
        while len(self._known) > self.config.cache:
            oldest = next(iter(self._known))
            if not self._known[oldest].done():
                return
            del self._known[oldest]
