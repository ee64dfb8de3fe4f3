"""The records everything else is written in: Task, Message, Tokens, Turn, Group, Outcome.

A trajectory is a path in a forest. A `Turn` is one policy call and stores only what it added, so the
forest holds every token once; a `Group` is every turn sampled for one task. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NotRequired, TypedDict

Role = Literal["system", "user", "assistant", "tool"]
Source = Literal["on_policy", "aided", "demo", "replay"]


class Message(TypedDict):
    """One chat message, in OpenAI's form. tools: in the first message only, what the chat template is to announce.
    name, tool_call_id: in a tool's message, which tool and which call it answers."""

    role: Role
    content: str
    tools: NotRequired[list[dict[str, Any]]]
    name: NotRequired[str]
    tool_call_id: NotRequired[str]


Observation = str | list[Message]
"""What an environment shows the policy: text that continues the assistant's own message (`str`), or new
chat messages, rendered through the model's chat template."""


class Outcome(StrEnum):
    """How an episode ended. Only the first three can be rewarded; cancelled is one that was given up, as a search
    does with what it leaves unexplored, and the others are failures of machinery."""

    DONE = "done"
    MAX_TURNS = "max_turns"
    MAX_TOKENS = "max_tokens"
    TOOL_TIMEOUT = "tool_timeout"
    ENV_ERROR = "env_error"
    ENGINE_ERROR = "engine_error"
    JUDGE_ERROR = "judge_error"
    CANCELLED = "cancelled"

    @property
    def is_valid(self) -> bool:
        """True when the episode's reward says something about the policy."""
        return self in (Outcome.DONE, Outcome.MAX_TURNS, Outcome.MAX_TOKENS)

    @property
    def is_failure(self) -> bool:
        """True when the machinery failed."""
        return not self.is_valid and self is not Outcome.CANCELLED


@dataclass(frozen=True, slots=True)
class Task:
    """One problem. `answer` and `info` are for the verifier and never reach the policy or a sandbox."""

    id: str
    prompt: str | list[Message]
    answer: str
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tokens:
    """A segment of exact token ids, and what the sampler knew about them.

    ids: token ids, as fed to or sampled from the model.
    logprobs: natural-log probability of each id under the sampling distribution at temperature 1;
        None for text that the environment or the chat template wrote.
    entropy: full-vocabulary entropy (nats) of the distribution each id was drawn from, at temperature 1.
    versions: number of the policy weights that each id was sampled with.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None = None
    entropy: tuple[float, ...] | None = None
    versions: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("logprobs", "entropy", "versions"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.ids):
                raise ValueError(f"Tokens: {len(self.ids)} ids but {len(values)} {name}; one per id is needed")

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(slots=True)
class Turn:
    """One policy call.

    parent: index of the previous turn in `Group.turns`; None at a root.
    context: what was added before the policy spoke (the prompt at a root, else the observation).
    agent: who spoke, where an environment has several speakers.
    recalled: ids that stand before the context in place of all that the parent saw and said, of which the policy
        then sees nothing else; None where nothing was taken back, none where the turn begins anew. They are
        context, whoever said them before.
    action: what the policy sampled. observation, text: context and action decoded, for people.
    reward: what the environment paid for this turn. outcome: set on the last turn of an episode.
    signals: raw named numbers about the episode that ends here; never pre-summed.
    """

    parent: int | None
    context: Tokens
    action: Tokens
    text: str = ""
    observation: str = ""
    reward: float = 0.0
    outcome: Outcome | None = None
    agent: str = "policy"
    source: Source = "on_policy"
    recalled: tuple[int, ...] | None = None
    signals: dict[str, float] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Group:
    """Every turn sampled for one task, as a forest. `id` is assigned when the task is drawn."""

    id: str
    task: Task
    turns: list[Turn] = field(default_factory=list)

    def leaves(self) -> list[int]:
        """Indices of turns without children, in order: one per trajectory."""
        parents = {turn.parent for turn in self.turns}
        return [i for i in range(len(self.turns)) if i not in parents]

    def path(self, leaf: int) -> list[int]:
        """Indices from the root to `leaf`."""
        path: list[int] = []
        node: int | None = leaf
        while node is not None:
            path.append(node)
            node = self.turns[node].parent
        return path[::-1]

    def seen(self, index: int) -> tuple[int, ...]:
        """All the ids that the policy saw when it took the turn."""
        turn, seen = self.turns[index], self.turns[index].context.ids
        while turn.recalled is None and turn.parent is not None:
            turn = self.turns[turn.parent]
            seen = turn.context.ids + turn.action.ids + seen
        return (turn.recalled or ()) + seen

    def context_sizes(self) -> list[int]:
        """Tokens in the policy's context at the end of each turn, what it said included."""
        sizes: list[int] = []
        for turn in self.turns:
            before = 0 if turn.parent is None else sizes[turn.parent]
            kept = before if turn.recalled is None else len(turn.recalled)
            sizes.append(kept + len(turn.context) + len(turn.action))
        return sizes

    def trajectories(self) -> Iterator[list[Turn]]:
        """Root-to-leaf turns of each trajectory, in the order of `leaves()`."""
        for leaf in self.leaves():
            yield [self.turns[i] for i in self.path(leaf)]

    def outcome(self, leaf: int) -> Outcome:
        """How the trajectory that ends at `leaf` ended."""
        return self.turns[leaf].outcome or Outcome.CANCELLED

    def returns(self) -> list[float]:
        """Sum of rewards along each trajectory, in the order of `leaves()`."""
        return [sum(turn.reward for turn in path) for path in self.trajectories()]
