"""A result judged useless is gone from what the policy sees next, and from nothing else."""

from __future__ import annotations

import random

from agentgym.envs.search import Search
from agentgym.models import nano
from agentgym.models.chat import Chat
from agentgym.rollout.demonstrations import Demonstrations
from agentgym.rollout.manager import Manager
from agentgym.rollout.walk import Limits
from agentgym.services import Services


class Silent:
    """Demonstrations sample nothing."""

    max_len = 4096

    def release(self, session: str) -> None:
        """Nothing is kept."""


async def test_the_next_context_lacks_the_result_and_keeps_what_was_said() -> None:
    config = Search(k=1, judge="drop", mislead=0.5, max_turns=40, prompt="plain")
    chat = Chat(nano.tokenizer("nano-search"))
    async with Services() as services:
        manager = Manager(config, Silent(), chat, services, Limits(max_tokens=2000))  # type: ignore[arg-type]
        tasks = [(str(n), task) for n, task in enumerate(config.source().draw(24, random.Random(3)))]
        groups = await manager.run(Demonstrations(), tasks, 0, 1)
    dropped = kept = 0
    for group in groups:
        transcript = ""
        for index, turn in enumerate(group.turns):
            assert chat.decode(group.seen(index)) == transcript + turn.observation
            if turn.info.get("judged") == "no":
                dropped += 1
            else:
                kept += 1
                transcript += turn.observation
            transcript += turn.text
    assert min(dropped, kept) > 10
