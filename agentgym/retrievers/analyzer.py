"""Text to the terms that BM25 counts, as Lucene's English analyzer does it (and so Anserini and pyserini)."""

from __future__ import annotations

import functools
import re

import regex
import Stemmer

_LUCENE = """a an and are as at be but by for if in into is it no not of on or such that the their then there these
they this to was will with"""
STOPWORDS = {"lucene": frozenset(_LUCENE.split()), "none": frozenset[str]()}
"""`lucene` is its EnglishAnalyzer.ENGLISH_STOP_WORDS_SET."""

_MAX_FORMS = 2**20  # words whose terms are remembered

# Words as Unicode's annex 29 breaks them, of at most Lucene's 255 characters: "u.s" and "1,000" are one each, and
# so is every Chinese character. Letters and digits of one code point each need no Unicode properties.
_PLAIN = r"\w{1,255}(?:(?:(?<=[^\W\d_])['’.:·](?=[^\W\d_])|(?<=\d)['’.,;](?=\d))\w{1,255})*"
_ASCII, _COMPOSED = re.compile(_PLAIN, re.ASCII), re.compile(_PLAIN)
_OTHER = re.compile("[\u0300-\u036f\u0483-\u0489\u0591-\u1dff\u2e80-\uabff\uf900-\ufaff\U00010000-\U0010ffff]")
_UNICODE = regex.compile(
    r"[\p{Han}\p{Hiragana}]\p{M}*"
    r"|[\w--[\p{Han}\p{Hiragana}]]{1,255}"
    r"(?:(?:(?<=[\p{L}\p{M}])['’.:·](?=\p{L})|(?<=\p{Nd})['’.,;](?=\p{Nd}))[\w--[\p{Han}\p{Hiragana}]]{1,255})*",
    regex.V1,
)


@functools.cache
def analyzer(stemmer: str, stopwords: str) -> Analyzer:
    """The one of this process, which remembers words across corpora. stemmer: a Snowball algorithm, or `none`."""
    return Analyzer(stemmer, STOPWORDS[stopwords])


class Analyzer:
    """stopwords: left out, before stemming."""

    def __init__(self, stemmer: str, stopwords: frozenset[str]) -> None:
        self.term = _Terms(stemmer, stopwords)

    def terms(self, text: str) -> list[str]:
        """In the order of the text."""
        return [term for word in _words(text) if (term := self.term[word])]


class Vocabulary:
    """Numbers the terms of a corpus as they come. terms: term -> number."""

    def __init__(self, analyzer: Analyzer) -> None:
        self.terms: dict[str, int] = {}
        self._numbers = _Numbers(analyzer, self.terms)

    def numbers(self, text: str) -> list[int]:
        """Of the text's terms, in its order."""
        numbers = self._numbers
        if len(numbers) > _MAX_FORMS:
            numbers.clear()
        return [number for word in _words(text) if (number := numbers[word]) >= 0]


def _words(text: str) -> list[str]:
    text = text.lower()
    pattern = _ASCII if text.isascii() else _UNICODE if _OTHER.search(text) else _COMPOSED
    words: list[str] = pattern.findall(text)
    return words


class _Terms(dict[str, str]):
    """The term of each word met so far; empty for a word that does not count."""

    def __init__(self, stemmer: str, stopwords: frozenset[str]) -> None:
        super().__init__()
        self._stem = None if stemmer == "none" else Stemmer.Stemmer(stemmer, 0).stemWord
        self._stopwords = stopwords

    def __missing__(self, word: str) -> str:
        plain = word[:-2] if word.endswith(("'s", "’s")) else word
        if plain in self._stopwords or not plain.strip("_"):
            term = ""
        else:
            term = self._stem(plain) if self._stem else plain
        if len(self) > _MAX_FORMS:
            self.clear()
        self[word] = term
        return term


class _Numbers(dict[str, int]):
    """The number of each word's term; -1 for a word that does not count."""

    def __init__(self, analyzer: Analyzer, terms: dict[str, int]) -> None:
        super().__init__()
        self._analyzer, self._terms = analyzer, terms

    def __missing__(self, word: str) -> int:
        term = self._analyzer.term[word]
        number = self[word] = self._terms.setdefault(term, len(self._terms)) if term else -1
        return number
