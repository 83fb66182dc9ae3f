"""BERT-uncased WordPiece, as in Devlin et al. 2019 (arXiv:1810.04805) and HuggingFace ``tokenizers``.

Two deliberate differences: a word outside the vocabulary gives no token instead of ``[UNK]``, because a static model
drops that token anyway; and special tokens such as ``[CLS]`` written in a text are ordinary text.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

MAX_WORD_LENGTH = 100  # BERT's max_input_chars_per_word: a longer word is unknown
MAX_CACHED_CHUNKS = 32_768  # about 6 MB; ordinary text repeats far fewer
MAX_CACHED_LENGTH = 40  # longer chunks are links and hashes, which do not repeat
CONTINUATION = "##"

CONTROL_THAT_SPLITS = re.compile("[\x0b\x0c\x1c-\x1f\x85]")  # str.split() splits here; BERT deletes them
DELETED_CATEGORIES = frozenset({"Cc", "Cf", "Co", "Cs", "Mn"})  # control, format, private, surrogate, accents
DELETED_CHARACTERS = frozenset({"\N{REPLACEMENT CHARACTER}"})
IDEOGRAPHS = (  # blocks that BERT splits into single characters
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),  # HuggingFace starts at B920 where BERT says B820; the model follows HuggingFace
    (0x2F800, 0x2FA1F),
)


class WordPiece:
    """Longest-match-first tokenizer over a fixed vocabulary; safe to share between threads."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        whole = [(piece, number) for number, piece in enumerate(vocabulary) if not piece.startswith(CONTINUATION)]
        inner = [(piece, number) for number, piece in enumerate(vocabulary) if piece.startswith(CONTINUATION)]
        self._first = dict(whole)
        self._next = {piece.removeprefix(CONTINUATION): number for piece, number in inner}
        self._longest = max(map(len, vocabulary), default=0)
        self._known: dict[str, tuple[int, ...]] = {}

    def encode(self, text: str) -> list[int]:
        """Return the numbers of the tokens of ``text``, in order, without the unknown ones."""
        if not text.isprintable():
            text = CONTROL_THAT_SPLITS.sub("", text)
        tokens: list[int] = []
        for chunk in text.split():
            pieces = self._known.get(chunk)
            tokens += self._learn(chunk) if pieces is None else pieces
        return tokens

    def _learn(self, chunk: str) -> tuple[int, ...]:
        pieces = tuple(piece for word in split_words(chunk) for piece in self._match(word))
        if len(chunk) <= MAX_CACHED_LENGTH:
            if len(self._known) >= MAX_CACHED_CHUNKS:
                self._known.clear()  # cheaper than keeping an order of use on the hot path
            self._known[chunk] = pieces
        return pieces

    def _match(self, word: str) -> list[int]:
        if len(word) > MAX_WORD_LENGTH:
            return []
        pieces: list[int] = []
        start, known = 0, self._first
        while start < len(word):
            for end in range(min(len(word), start + self._longest), start, -1):
                piece = known.get(word[start:end])
                if piece is not None:
                    break
            else:
                return []  # one part without a match makes the whole word unknown
            pieces.append(piece)
            start, known = end, self._next
        return pieces


def split_words(text: str) -> list[str]:
    """Lower-case ``text`` without accents, cut at white space, around punctuation and around ideographs."""
    if text.isascii() and text.isalnum():
        return [text.lower()]
    return "".join(map(_spell, text)).split()


@lru_cache(maxsize=8_192)
def _spell(character: str) -> str:
    """Return what BERT's normaliser makes of one character: nothing, a letter or two, or a word of its own."""
    if character in DELETED_CHARACTERS:
        return ""
    if character.isspace():
        return " "
    letters = [c for c in unicodedata.normalize("NFD", character) if unicodedata.category(c) not in DELETED_CATEGORIES]
    spelled = "".join(f" {c} " if _is_punctuation(c) else c.lower() for c in letters)
    return f" {spelled} " if _is_ideograph(character) else spelled


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")


def _is_ideograph(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in IDEOGRAPHS)
