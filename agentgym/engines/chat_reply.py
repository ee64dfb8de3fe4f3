"""What a chat API answered, as one reply: streamed or whole, cut off at stop texts and whole again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from agentgym.api.failures import Unfit
from agentgym.api.wire import ChatAnswer, ChatChoice, Said, Sampled, ToolCall
from agentgym.engines.call_texts import CallText, write_calls

_NOTHING = Said()


@dataclass(frozen=True, slots=True)
class Reply:
    """tokens: what the server says it sampled, None where it does not say. sampled: each of them, where it tells.
    ended_by: the stop text that it says it met, empty for none; None where it does not say."""

    text: str
    finish_reason: str
    ended_by: str | None
    tokens: int | None
    sampled: tuple[Sampled, ...]


def read_reply(answers: Sequence[ChatAnswer]) -> Reply:
    """The reply in one body, or in the chunks of a stream. Raises Unfit for none, or one without an end."""
    choices = [choice for answer in answers for choice in answer.choices[:1]]
    if not choices:
        raise Unfit("no choices")
    finish = [choice.finish_reason for choice in choices if choice.finish_reason]
    if not finish:
        raise Unfit("no finish_reason")
    said = [choice.delta or choice.message or _NOTHING for choice in choices]
    content = "".join((part.content or "") + (part.refusal or "") for part in said)
    usage = [answer.usage for answer in answers if answer.usage is not None]
    return Reply(
        text=write_calls(content, _join([call for part in said for call in part.tool_calls or ()])),
        finish_reason=finish[-1],
        ended_by=next((found for choice in choices if (found := _ended_by(choice)) is not None), None),
        tokens=usage[-1].completion_tokens if usage else None,
        sampled=tuple(s for choice in choices if choice.logprobs for s in choice.logprobs.content or ()),
    )


def ending(reply: Reply, stops: Sequence[str], begun: str = "") -> tuple[str, Literal["stop", "eos", "length"]]:
    """The text up to and with the first stop text in it, and how it ended. begun: what was said just before, where
    a stop text may begin.

    APIs cut the stop text off that they met. It is put back where the server names it (vLLM, SGLang), and else
    where exactly one of them closes a tag that the text leaves open, as `</code>` does after `<code>`. What ends
    with `stop` otherwise is a turn that was ended: with a stop text that closes no tag, and a server that does not
    name it, both look the same.
    """
    text = reply.text
    before = begun + text
    ends = [at + len(stop) for stop in stops if (at := _find(before, stop, len(begun))) >= 0]
    if ends:
        return text[: min(ends) - len(begun)], "stop"
    if reply.finish_reason == "length":
        return text, "length"
    if reply.ended_by is not None:
        return (text + reply.ended_by, "stop") if reply.ended_by in stops else (text, "eos")
    open_tags = [stop for stop in stops if _leaves_open(before, stop)]
    if reply.finish_reason == "stop" and len(open_tags) == 1:
        return text + open_tags[0], "stop"
    return text, "eos"


def _find(text: str, stop: str, begun: int) -> int:
    """Where the first `stop` begins that ends after `begun`."""
    return text.find(stop, max(0, begun - len(stop) + 1))


def _leaves_open(text: str, stop: str) -> bool:
    if not (stop.startswith("</") and stop.endswith(">")):
        return False
    return text.rfind(f"<{stop[2:]}") > text.rfind(stop)


def _ended_by(choice: ChatChoice) -> str | None:
    """As in Reply, of a chunk; only the last one says."""
    told = [found for found in (choice.stop_reason, choice.matched_stop) if found is not msgspec.UNSET]
    if not choice.finish_reason or not told:
        return None
    return next((found for found in told if isinstance(found, str)), "")


def _join(parts: Sequence[ToolCall]) -> list[CallText]:
    """Calls from what the chunks tell of them: name and id once, arguments bit by bit."""
    found: dict[int, list[ToolCall]] = {}
    for part in parts:
        index = part.index
        if index is None:  # a whole call, as in one body
            index = len(found)
        found.setdefault(index, []).append(part)
    return [
        CallText(
            id=next((part.id for part in call if part.id), f"call_{index}"),
            name=next((part.function.name for part in call if part.function.name), ""),
            arguments="".join(part.function.arguments or "" for part in call),
        )
        for index, call in sorted(found.items())
    ]
