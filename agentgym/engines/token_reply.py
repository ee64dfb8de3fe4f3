"""What a server of token ids answers: what it sampled, and what it knows of a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentgym.api.failures import Unfit
from agentgym.api.wire import Scored, TokenAnswer, TokenChoice
from agentgym.engines.top_entropy import lowest_entropy


@dataclass(frozen=True, slots=True)
class Drawn:
    """Ids that were sampled, and as many of all else; entropies are none where no likeliest tokens were asked
    for."""

    ids: list[int]
    logprobs: list[float]
    entropy: list[float]
    versions: list[int]


def read_drawn(answers: list[TokenAnswer], vocab_size: int) -> Drawn:
    """Of a whole answer, with an end and a log-probability for every id. Raises Unfit for another."""
    parts = [(answer.version, choice) for answer in answers for choice in answer.choices[:1]]
    choices = [choice for _, choice in parts]
    if not any(choice.finish_reason for choice in choices):
        raise Unfit("no finish_reason")
    if "abort" in {choice.finish_reason for choice in choices}:
        raise Unfit("it was aborted")
    ids = [index for choice in choices for index in choice.token_ids or ()]
    if not ids:
        raise Unfit("no token_ids: does the server know return_token_ids?")
    logprobs = [value for choice in choices for value in _told(choice)]
    if len(logprobs) != len(ids):
        raise Unfit("not as many log-probabilities as token ids")
    if max(ids) >= vocab_size or min(ids) < 0:
        raise Unfit(f"a token id beyond the model's vocabulary of {vocab_size}: is it another model?")
    entropy = [value for choice in choices for value in _entropies(choice)]
    versions = [version for version, choice in parts for _ in choice.token_ids or ()]
    return Drawn(ids, logprobs, entropy, versions)


def read_scored(answers: list[TokenAnswer], ids: Sequence[int]) -> tuple[list[float], list[float], list[int]]:
    """Log-probability, entropy (by the tokens told) and version of each id. Raises Unfit where one is missing."""
    told = [(answer.version, choice.prompt_logprobs or []) for answer in answers for choice in answer.choices]
    if not told or len(told[0][1]) != len(ids):
        raise Unfit("no prompt_logprobs")
    version, rows = told[0]
    if not all(row and str(i) in row for row, i in zip(rows[1:], ids[1:], strict=True)):
        raise Unfit("no log-probability for an id of the prompt")
    tables: list[dict[str, Scored]] = [row or {} for row in rows[1:]]
    logprobs = [0.0, *(row[str(i)].logprob for row, i in zip(tables, ids[1:], strict=True))]
    entropy = [0.0, *(lowest_entropy([scored.logprob for scored in row.values()]) for row in tables)]
    return logprobs, entropy, [version] * len(ids)


def _told(choice: TokenChoice) -> list[float]:
    if choice.logprobs is None:
        return []
    return [value for value in choice.logprobs.token_logprobs if value is not None]


def _entropies(choice: TokenChoice) -> list[float]:
    if choice.logprobs is None:
        return []
    return [lowest_entropy(list((row or {}).values())) for row in choice.logprobs.top_logprobs or ()]
