r"""The last `\boxed{}`, against its definition tried at every place."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentgym.boxed import last_boxed


def by_definition(text: str) -> str | None:
    r"""Of every `\boxed{` from the last, the text up to where its braces are even."""
    for start in reversed([i for i in range(len(text)) if text.startswith("\\boxed{", i)]):
        inside = at = start + len("\\boxed{")
        depth = 1
        while at < len(text):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            if depth == 0:
                return text[inside:at].strip()
            at += 2 if text[at] == "\\" else 1
    return None


@given(
    st.lists(st.sampled_from(["\\boxed{", "\\", "{", "}", "\\{", "\\}", "boxed{", "7", " ", "\n"])).map("".join)
)
def test_last_boxed(text: str) -> None:
    assert last_boxed(text) == by_definition(text)


def test_many_that_never_end_take_no_longer() -> None:
    """Work that grows with the square of the length takes minutes here."""
    assert last_boxed("\\boxed{" * 200_000 + "7") is None
    assert last_boxed("\\boxed{" * 200_000 + "7}") == "7"
