"""Takes a text apart into n-grams: words, pairs of words, and runs of three characters.

Words and pairs tell what a thing is. The runs of characters tell that two words are kin, whatever their endings, and
read languages that put no space between words. ``TextFeature`` in ``artifact.proto`` defines them.
"""

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

MAX_CHARACTERS = 2_000
"""How many code points of a text are read, and again how many of its normal form, which may be 18 times as long."""

_RUN = 3
"""Characters of a run."""


def n_grams(text: str) -> Iterator[str]:
    """The n-grams of a text: its words, then its pairs of words, then the runs of characters of each word."""
    words = normalised(text[:MAX_CHARACTERS])[:MAX_CHARACTERS].translate(_WORDS_ALONE).split(" ")
    words = [f" {word} " for word in words if word]
    yield from words
    yield from (first[:-1] + second for first, second in pairwise(words))
    for word in words:
        yield from (word[start : start + _RUN] for start in range(len(word) - _RUN + 1))


def normalised(text: str) -> str:
    """The text without differences of case, width and composition.

    Case folding may leave the normal form, and so the text is brought into it again.
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


class _WordsAlone:
    """For ``str.translate``: leaves the characters of words and turns all others into spaces."""

    def __getitem__(self, code_point: int) -> int:
        return code_point if _is_of_word(code_point) else ord(" ")


@lru_cache(maxsize=4_096)
def _is_of_word(code_point: int) -> bool:
    # Not `\w`: that takes the vowel signs of many scripts, which are marks, for the end of a word.
    return unicodedata.category(chr(code_point))[0] in "LMN"


_WORDS_ALONE = _WordsAlone()
