"""How replies end, and what tokens they are taken for."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from agentgym.api.failures import Unfit
from agentgym.api.wire import ChatAnswer
from agentgym.engines.chat_reply import Reply, ending, read_reply
from agentgym.engines.chat_tokens import cut

STOPS = ("</code>", "</answer>")


def answers(*chunks: dict[str, Any]) -> list[ChatAnswer]:
    return [msgspec.convert(chunk, ChatAnswer) for chunk in chunks]


def one(text: str, finish: str = "stop", **more: Any) -> Reply:
    choice = {"message": {"content": text}, "finish_reason": finish, **more}
    return read_reply(answers({"choices": [choice], "usage": {"completion_tokens": 10}}))


@pytest.mark.parametrize(
    ("reply", "text", "finish"),
    [
        (one("<code>1", stop_reason="</code>"), "<code>1</code>", "stop"),  # vLLM names it
        (one("1", matched_stop="</answer>"), "1</answer>", "stop"),  # SGLang
        (one("<code>1", stop_reason=None), "<code>1", "eos"),  # vLLM says that there was none
        (one("<code>1", matched_stop=151645), "<code>1", "eos"),  # a token ended it
        (one("<code>1</code>", stop_reason="</code>"), "<code>1</code>", "stop"),  # it stayed in
        (one("<code>1"), "<code>1</code>", "stop"),  # the tag that is open
        (one("<code>1</code> then <answer>3"), "<code>1</code>", "stop"),  # and it was not asked for
        (one("see <code>"), "see <code></code>", "stop"),
        (one("done"), "done", "eos"),
        (one("<code>1 <answer>2"), "<code>1 <answer>2", "eos"),  # either may have ended it
        (one("<code>1", "length"), "<code>1", "length"),
        (one("<code>1</code> and", "length"), "<code>1</code>", "stop"),
        (one("", "tool_calls"), "", "eos"),
    ],
)
def test_endings(reply: Reply, text: str, finish: str) -> None:
    assert ending(reply, STOPS) == (text, finish)


def test_a_stop_text_may_have_begun_before() -> None:
    assert ending(one("de> more", "length"), STOPS, begun="</code></co") == ("de>", "stop")
    assert ending(one("de", "length"), STOPS, begun="</code>") == ("de", "length")
    assert ending(one("x"), STOPS, begun="<answer>") == ("x</answer>", "stop")


def test_chunks_are_one_reply() -> None:
    function = {"name": "add", "arguments": '{"x"'}
    reply = read_reply(
        answers(
            {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
            {"choices": [{"delta": {"content": "ok"}}], "usage": {"completion_tokens": 1}},
            {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "a", "function": function}]}}]},
            {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]}}]},
            {"choices": [{"delta": {"tool_calls": [{"index": 1, "function": {"name": "now"}}]}}]},
            {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
            {"choices": [], "usage": {"completion_tokens": 9}},
        )
    )
    assert reply.text == (
        'ok\n<tool_call>\n{"name": "add", "arguments": {"x": 1}, "id": "a"}\n</tool_call>\n'
        '<tool_call>\n{"name": "now", "arguments": {}, "id": "call_1"}\n</tool_call>'
    )
    assert (reply.tokens, reply.finish_reason) == (9, "tool_calls")


@pytest.mark.parametrize(
    "chunks",
    [[], [{"choices": []}], [{"choices": [{"delta": {"content": "half"}}]}]],
    ids=["nothing", "no choices", "no end"],
)
def test_what_is_no_reply(chunks: list[dict[str, Any]]) -> None:
    with pytest.raises(Unfit):
        read_reply(answers(*chunks))


@pytest.mark.parametrize(("ended", "bits"), [(True, 9), (False, 10)])
def test_a_reply_has_as_many_pieces_as_the_server_counts(ended: bool, bits: int) -> None:
    for text in ("word " * 20, "short", "", "naïve 🙂 café"):
        reply = one(text)
        found = cut(reply, text, ended)
        assert b"".join(found.texts) == text.encode()
        assert len(found.texts) == bits
        assert found.logprobs is found.entropy is None
    assert len(cut(one("x" * 100), "x" * 50, ended=False).texts) == 5  # what was cut off does not count
    assert len(cut(Reply("x" * 100, "stop", None, None, ()), "x" * 100, ended=True).texts) == 25


def tokens(*texts: str) -> dict[str, Any]:
    top = [{"token": "~", "logprob": math.log(0.25)}]
    listed = [{"token": t, "logprob": math.log(0.5), "bytes": list(t.encode())} for t in texts]
    return {"logprobs": {"content": [{**t, "top_logprobs": [t, *top]} for t in listed]}}


def test_tokens_that_are_told_are_taken_as_they_are() -> None:
    half, told = math.log(0.5), 0.5 * math.log(2) + 2 * 0.25 * math.log(4)
    found = cut(one("one two", **tokens("one", " two", "<|im_end|>")), "one two", ended=True)  # vLLM tells the end
    assert found.texts == [b"one", b" two"]
    assert found.logprobs == pytest.approx((half,) * 3)
    assert found.entropy == pytest.approx((told,) * 3)
    found = cut(one("one two", **tokens("one", " two")), "one two", ended=True)  # OpenAI does not
    assert found.logprobs == pytest.approx((half, half, 0))
    assert found.entropy == pytest.approx((told, told, 0))
    found = cut(one("one two", **tokens("one", " two")), "one t", ended=False)
    assert (found.texts, found.logprobs) == ([b"one", b" t"], pytest.approx((half, half)))
    found = cut(one("<a>1", **tokens("<a>", "1")), "<a>1</a>", ended=False)  # the stop text that was put back
    assert (found.texts, found.logprobs) == ([b"<a>", b"1", b"</a>"], pytest.approx((half, half, 0)))


def test_tokens_that_are_not_the_text_count_and_those_that_are_not_all_do_not() -> None:
    called = one("", "tool_calls", **tokens(*["x"] * 10))
    found = cut(called, "<tool_call>...</tool_call>", ended=True)
    assert (len(found.texts), len(found.logprobs or ())) == (9, 10)
    assert cut(one("", **tokens("x")), "<tool_call>...</tool_call>", ended=True).logprobs is None
