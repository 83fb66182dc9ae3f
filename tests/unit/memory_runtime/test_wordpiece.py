"""The tokenizer agrees with HuggingFace ``tokenizers`` on the model's own vocabulary."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_runtime.adapters.embedding import wordpiece
from memory_runtime.adapters.embedding.potion import DATA, VOCABULARY
from memory_runtime.adapters.embedding.wordpiece import MAX_CACHED_LENGTH, WordPiece, split_words

TOKENS = (DATA / VOCABULARY).read_text(encoding="utf-8").removesuffix("\n").split("\n")

# Output of tokenizers 0.23.3 with the model's tokenizer.json and add_special_tokens=False, without its [UNK] tokens.
HUGGINGFACE = {
    "plain": ("Hello, World!", "hello , world !"),
    "apostrophes": ("don't can't O'Reilly\u2019s", "don ' t can ' t o ' reilly \u2019 s"),
    "accents": ("Café crème naïve Zürich", "cafe cr ##eme naive zurich"),
    "combining accents": ("e\u0301te\u0301", "et ##e"),
    "accents alone": ("\u0301\u0300", ""),
    "dotted i": ("I\u0307stanbul \u0130STANBUL", "istanbul istanbul"),
    "final sigma": (
        "\u03a3\u038a\u03a3\u03a5\u03a6\u039f\u03a3",
        "\u03c3 ##\u03b9 ##\u03c3 ##\u03c5 ##\u03c6 ##\u03bf ##\u03c3",
    ),
    "sharp s": ("straße", "st ##raße"),
    "ideographs": ("北京大学is好", "北 京 大 学 is"),
    "rare ideographs": ("\U00020000\U0002a700\U0002b820 龘龘 ok", "ok"),
    "kana": ("カタカナ ひらがな", "カ ##タ ##カ ##ナ ひ ##ら ##か ##な"),
    "hangul": ("한국어", "\u1112 ##\u1161 ##\u11ab ##\u1100 ##\u116e ##\u11a8 ##\u110b ##\u1165"),
    "cyrillic": (
        "\u043f\u0440\u0438\u0432\u0435\u0442 \u041c\u0438\u0440",
        "\u043f ##\u0440 ##\u0438 ##\u0432 ##\u0435 ##\u0442 \u043c ##\u0438 ##\u0440",
    ),
    "devanagari": ("\u0928\u092e\u0938\u094d\u0924\u0947", "\u0928 ##\u092e ##\u0938 ##\u0924"),
    "emoji": ("I \U0001f600 this \U0001f469\u200d\U0001f4bb a lot \U0001f389\U0001f389", "i this a lot"),
    "emoji glued to a word": ("ok\U0001f600 fine", "fine"),
    "white space": ("tab\there\nnew\r\nline", "tab here new line"),
    "unicode spaces": ("non\xa0breaking\u2003em\u2028line", "non breaking em line"),
    "format characters": ("zero\u200bwidth bom\ufeff soft\xadhyphen", "zero ##wi ##dt ##h bo ##m soft ##hy ##ph ##en"),
    "control characters": ("nul\x00bell\x07esc\x1b[0m", "nu ##lb ##elles ##c [ 0 ##m"),
    "control characters that Python splits at": (
        "form\x0cfeed\x1cseparator\x85next",
        "form ##fe ##ed ##se ##para ##tor ##ne ##xt",
    ),
    "replacement and private use": ("\ufffd replacement \ue000private", "replacement private"),
    "long word": ("antidisestablishmentarianism", "anti ##dis ##est ##ab ##lish ##ment ##arian ##ism"),
    "word of 100": ("a" * 100, "aaa" + " ##aa" * 48 + " ##a"),
    "word of 101": ("a" * 101, ""),
    "giant word": ("short " + "x" * 300 + " end", "short end"),
    "mail address": ("foo_bar-baz.qux@example.com", "foo _ bar - ba ##z . qu ##x @ example . com"),
    "link": ("https://example.com/a?b=1&c=%20", "https : / / example . com / a ? b = 1 & c = % 20"),
    "ascii symbols": ("$5.00 + 3^2 = <b>`14`</b> | ~x", "$ 5 . 00 + 3 ^ 2 = < b > ` 14 ` < / b > | ~ x"),
    "typography": ("\u2026\u201cquoted\u201d\u2014dash\xab\xbb", "\u2026 \u201c quoted \u201d \u2014 dash \xab \xbb"),
    "timestamp": ("2024-03-05T07:30:00Z", "202 ##4 - 03 - 05 ##t ##0 ##7 : 30 : 00 ##z"),
    "compatibility characters": ("x² ½ \ufb01ne \ufb00", "x ##² ½ \ufb01 ##ne"),
    "code": ("snake_case camelCase kebab-case", "snake _ case camel ##case ke ##ba ##b - case"),
    "continuation mark in the text": ("unaffable ##able", "una ##ffa ##ble # # able"),
    "punctuation only": ("!!!???", "! ! ! ? ? ?"),
    "empty": ("", ""),
    "blank": ("   \n\t ", ""),
}


@pytest.fixture(scope="module")
def tokenizer() -> WordPiece:
    return WordPiece(TOKENS)


@pytest.mark.parametrize(("text", "expected"), HUGGINGFACE.values(), ids=HUGGINGFACE.keys())
def test_tokens_are_those_of_huggingface(tokenizer: WordPiece, text: str, expected: str) -> None:
    assert [TOKENS[number] for number in tokenizer.encode(text)] == expected.split()


def test_special_tokens_in_a_text_are_ordinary_text(tokenizer: WordPiece) -> None:
    assert [TOKENS[number] for number in tokenizer.encode("[MASK]")] == ["[", "mask", "]"]


@given(st.text())
def test_any_text_gives_the_same_tokens_the_second_time(text: str) -> None:
    fresh, warm = WordPiece(TOKENS[:3_000]), WordPiece(TOKENS[:3_000])
    warm.encode(text)
    assert warm.encode(text) == fresh.encode(text)


@given(st.lists(st.text(), max_size=4))
def test_tokens_of_joined_texts_are_the_joined_tokens(texts: list[str]) -> None:
    tokenizer = WordPiece(TOKENS[:3_000])
    assert tokenizer.encode(" ".join(texts)) == [number for text in texts for number in tokenizer.encode(text)]


@given(st.text())
def test_split_words_are_never_empty_and_hold_no_white_space(text: str) -> None:
    assert all(word and not any(map(str.isspace, word)) for word in split_words(text))


def test_memory_stays_bounded_when_every_word_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordpiece, "MAX_CACHED_CHUNKS", 10)
    tokenizer = WordPiece(TOKENS)
    tokenizer.encode(" ".join(f"word{number}" for number in range(95)) + " " + "x" * (MAX_CACHED_LENGTH + 1))
    assert len(tokenizer._known) <= 10
    assert max(map(len, tokenizer._known)) <= MAX_CACHED_LENGTH
