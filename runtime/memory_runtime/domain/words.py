"""The words of a query that say something; comparing the others by trigram would only blur the similarity."""

from __future__ import annotations

import re

# Function words of English, and the verbs and pronouns that questions are made of.
_FUNCTION_WORDS = (
    "a about am an and any are as at be been but by can could did do does for from get had has have he her "
    "him his how i if in into is it its me my no not of on or our she should so than that the their them then "
    "there these they this to us was we were what when where which who why will with would you your"
)
STOP_WORDS = frozenset(_FUNCTION_WORDS.split())
_WORD = re.compile(r"\w+")
MAX_WORDS = 32
# A full-text query of thousands of words takes Postgres seconds.
MAX_SEARCHED = 2_000


def query_words(text: str) -> str:
    """Return the first `MAX_WORDS` telling words of `text`, lower-case, joined by spaces; all words if none tells."""
    words = _WORD.findall(text.lower())
    telling = [word for word in words if word not in STOP_WORDS]
    return " ".join((telling or words)[:MAX_WORDS])


def distinct_words(text: str) -> str:
    """Return the words of `text`, each once and as written, cut after `MAX_SEARCHED` characters."""
    return " ".join(dict.fromkeys(text.split()))[:MAX_SEARCHED]
