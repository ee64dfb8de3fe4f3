"""Scripted policies that find an answer by searching, for cold starts.

They go on from what a result said and not from what they know, so that who is misled answers wrongly, and who does
not search says so.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agentgym.env import Demonstration
from agentgym.protocols.reseek import write_judgement
from agentgym.tool import Call

if TYPE_CHECKING:
    from agentgym.envs.search import SearchEnv

UNKNOWN = "unknown"
"""What is answered to a question whose answer was not looked for. An answer that cannot be known would only teach
to learn by heart."""


def demonstrate(env: SearchEnv, rng: random.Random) -> Demonstration:
    """A search for each fact; at every step perhaps an answer at once, and of the judgements some tossed for."""
    assert env.task is not None, "reset() comes first"
    info, config = env.task.info, env.config
    if not {"subject", "words", "gold_doc_ids"} <= info.keys():
        raise NotImplementedError(
            f"task {env.task.id!r} does not say how it is solved (info.subject, info.words), as questions about "
            "invented worlds do; others need a model that can search already, as in recipe=search_r1 model=NAME"
        )
    judging = config.judge != "off"
    easy = info.get("level") == "easy"
    at_once = config.demo_easy_rate if easy else config.demo_direct_rate
    name, said = str(info["subject"]), ""
    for word, gold in zip(info["words"], info["gold_doc_ids"], strict=True):
        accepted = False
        while not accepted:
            may_answer = said != write_judgement("no")
            if may_answer and rng.random() < at_once:
                yield said + env.dialogue.write_answer(env.task.answer if easy else UNKNOWN)
                return
            yield said + env.dialogue.write_calls([Call("search", {"query": f"{name} {word}"})])
            found = [passage.more for passage in env.search.found[-1]]
            right = gold in (passage.id for passage in env.search.found[-1])
            accepted = rng.random() < 0.5 if rng.random() < config.demo_error_rate else right
            said = write_judgement("yes" if accepted else "no") if judging else ""
        name = _value(found, gold, name)
    yield said + env.dialogue.write_answer(name)


def _value(found: list[Mapping[str, Any]], gold: str, name: str) -> str:
    """What the result says of the fact, the right passage first; the name as it was where it says nothing."""
    about = sorted((more for more in found if more.get("fact") == gold), key=lambda more: more["kind"] != "fact")
    return str(about[0]["value"]) if about else name
