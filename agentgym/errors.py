"""One exception tree, by the boundary that was crossed.

AgentgymError
├── UserError        what the user typed or supplied is wrong; exit code 2, never a traceback
│   ├── ConfigError      an unknown key or name, a value of the wrong type
│   └── TaskError        a task file that is missing or malformed
├── ToolError        the tool refuses the call; its text goes to the policy as an observation
│   └── SqlError         a statement that the database refuses
│       └── SqlTooMuch       one that takes too much
├── ToolTimeout      the tool gave no answer in time: tool_timeout
├── ToolFailed       the tool broke, or cannot be had: env_error
├── EnvError         the environment broke, or cannot be had: env_error
├── SandboxError     the sandbox itself failed: the episode ends as env_error, never as a reward of 0
├── EngineError      the engine failed: engine_error
│   └── EngineDead       it will not answer any more
├── PeerError        another process of the run has ended
├── ClusterError     machines or actors cannot be had, or are lost too often; the run stops and says why
├── LlmError         a model that is not the policy gave no answer that can be used
│   └── BudgetSpent      what it may use is used up
├── JudgeError       the checker of answers failed: judge_error
└── TooManyErrors    more episodes failed than `max_error_frac` allows; the run stops and says why
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AgentgymError(Exception):
    """Base of every error agentgym raises on purpose."""


class UserError(AgentgymError):
    """What the user typed or supplied is wrong."""


class ConfigError(UserError):
    """An unknown key or name, or a value of the wrong type."""


class TaskError(UserError):
    """A task file that is missing or malformed."""


class ToolError(AgentgymError):
    """The tool refuses the call; the text reaches the policy."""


class SqlError(ToolError):
    """A statement that the database refuses; the text says where in it."""


class SqlTooMuch(SqlError):
    """A statement that takes too much time or memory."""


class ToolTimeout(AgentgymError, TimeoutError):
    """The tool gave no answer in time."""


class ToolFailed(AgentgymError):
    """The tool broke, or cannot be had; the text names the tool."""


class EnvError(AgentgymError):
    """The environment broke, or cannot be had."""


class SandboxError(AgentgymError):
    """The sandbox itself failed."""


class EngineError(AgentgymError):
    """The engine failed."""


class EngineDead(EngineError):
    """The engine will not answer any more."""


class PeerError(AgentgymError):
    """Another process of the run has ended."""


class ClusterError(AgentgymError):
    """Machines or actors cannot be had, or are lost too often."""


class JudgeError(AgentgymError):
    """The checker of answers failed."""


class LlmError(AgentgymError):
    """A model that is not the policy gave no answer that can be used."""


class BudgetSpent(LlmError):
    """What a model may use is used up; the text names the budget."""


class TooManyErrors(AgentgymError):
    """More episodes failed than allowed."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'? ` when something close exists, then what exists."""
    options = sorted(known)
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    close = close or [option for option in options if word in option.split("_")]
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {', '.join(options) or 'nothing'}"
