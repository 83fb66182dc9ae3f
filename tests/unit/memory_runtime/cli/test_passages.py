import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_runtime.cli.passages import CODE_FACTOR, TARGET, Passage, split_markdown, split_text

# Pieces of documents that meet every rule, so that random documents are made of interesting neighbours.
HEADINGS = ["# Title", "## Sub ##", "Setext\n---"]
CODE = ["```py\nx = 1\n\n# no heading\n```", "```", "~~~"]
PROSE = [
    "A sentence. Another one! A third?",
    "word " * 60,
    "x" * 250,
    "这。那。",
    "- item\n- item",
    "| a |\n|---|\n| 1 |",
]
PIECES = st.sampled_from([*HEADINGS, *CODE, *PROSE, "---", "", " \t"])
DOCUMENTS = st.lists(PIECES | st.text(max_size=60), max_size=12).flatmap(
    lambda pieces: st.sampled_from(["\n", "\n\n", "\r\n", " "]).map(lambda end: end.join(pieces))
)
SPLITTERS = pytest.mark.parametrize("split", [split_text, split_markdown], ids=["text", "markdown"])


def words(*texts: str) -> str:
    return "".join("".join(texts).split())


@SPLITTERS
@given(text=DOCUMENTS)
def test_nothing_but_white_space_is_lost_added_or_moved(split, text):
    assert words(*(passage.text for passage in split(text, 100))) == words(text)


@SPLITTERS
@given(text=DOCUMENTS)
def test_a_passage_begins_on_the_line_it_names(split, text):
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for passage in split(text, 100):
        assert passage.text.split("\n")[0].strip() in lines[passage.line - 1]


@SPLITTERS
@given(text=DOCUMENTS)
def test_no_passage_is_blank_or_much_longer_than_the_target(split, text):
    for passage in split(text, 100):
        assert passage.text.strip()
        assert len(passage.text) <= 100 * (CODE_FACTOR + 0.5) + 2


@given(text=DOCUMENTS)
def test_passages_of_plain_text_keep_to_the_target(text):
    assert all(len(passage.text) <= 100 for passage in split_text(text, 100))


@SPLITTERS
@given(text=DOCUMENTS)
def test_windows_line_ends_change_nothing(split, text):
    unix = text.replace("\r\n", "\n").replace("\r", "\n")
    assert split(unix.replace("\n", "\r\n"), 100) == split(unix, 100)


@SPLITTERS
@pytest.mark.parametrize("text", ["", "\n", " \n\t\n", "\r\n\r\n"])
def test_a_text_without_words_has_no_passages(split, text):
    assert split(text) == []


def test_short_paragraphs_share_a_passage_and_keep_their_blank_line():
    assert split_text("one\n\n\ntwo") == [Passage("one\n\ntwo", 1)]


def test_paragraphs_that_do_not_fit_together_are_apart():
    assert [passage.line for passage in split_text(f"{'a' * 500}\n\n{'b' * 500}\n")] == [1, 3]


def test_a_long_paragraph_is_split_at_sentence_ends():
    sentence = "This sentence has exactly fifty characters, surely."
    passages = split_text(" ".join([sentence] * 40))
    assert len(passages) == 3
    assert all(passage.text.endswith("surely.") and len(passage.text) <= TARGET for passage in passages)


def test_a_long_list_is_split_between_its_items():
    passages = split_markdown("\n".join(f"- item {number} without a full stop" for number in range(60)))
    assert len(passages) > 1
    assert all(passage.text.startswith("- item") for passage in passages)


def test_a_numbered_item_keeps_its_number():
    passages = split_markdown("\n".join(f"{number}. Item one. It has two sentences." for number in range(1, 60)))
    assert len(passages) > 1
    assert all(passage.text.endswith(".") and not passage.text[-2].isdigit() for passage in passages)


def test_a_long_text_without_sentences_is_split_between_words():
    passages = split_text("word " * 400)
    assert {word for passage in passages for word in passage.text.split()} == {"word"}


def test_a_text_without_spaces_is_cut_anywhere():
    assert [len(passage.text) for passage in split_text("x" * 2000)] == [800, 800, 400]


def test_chinese_sentences_end_without_a_space():
    passages = split_text("这是一个句子。" * 200)
    assert all(passage.text.endswith("。") for passage in passages)


def test_pieces_of_a_paragraph_know_their_own_line():
    text = "\n".join(f"Line number {number} of the text ends here." for number in range(1, 101))
    for passage in split_text(text):
        assert passage.text.startswith(f"Line number {passage.line} ")


def test_each_passage_has_the_path_of_its_headings():
    text = "# Guide\n\nIntro.\n\n## Install\n\nOn Linux.\n\n### From source ###\n\nmake\n\n## Use\n\nRun it.\n"
    assert [(passage.heading, passage.line) for passage in split_markdown(text)] == [
        ("Guide", 1),
        ("Guide > Install", 5),
        ("Guide > Install > From source", 9),
        ("Guide > Use", 13),
    ]


def test_text_before_the_first_heading_has_none():
    assert split_markdown("Hello.\n\n# Title\nBody.") == [Passage("Hello.", 1), Passage("# Title\nBody.", 3, "Title")]


def test_a_heading_goes_with_what_follows_not_alone():
    assert split_markdown("# Title\n\n## Sub\n\nBody.") == [Passage("# Title\n\n## Sub\n\nBody.", 1, "Title > Sub")]


def test_a_heading_joins_even_a_paragraph_that_fills_the_passage():
    (passage,) = split_markdown(f"# Title\n\n{'x' * TARGET}")
    assert passage.text.startswith("# Title")


def test_underlined_headings_count():
    text = "Title\n=====\n\nBody.\n\nSub\n---\nMore.\n"
    assert [passage.heading for passage in split_markdown(text)] == ["Title", "Title > Sub"]


@pytest.mark.parametrize(
    "line", ["#hashtag", "####### seven", "    # indented code", "- item\n---", "a | b\n--- | ---"]
)
def test_what_only_looks_like_a_heading_is_none(line):
    assert [passage.heading for passage in split_markdown(f"{line}\n\ntext")] == [None]


def test_front_matter_is_no_heading():
    assert [passage.heading for passage in split_markdown("---\ntitle: x\n---\n\nBody.")] == [None]


def test_hashes_inside_a_fence_are_no_headings():
    (passage,) = split_markdown("# Use\n\n```sh\n# a comment\n\nmake\n```\n\nDone.")
    assert passage.heading == "Use"


@pytest.mark.parametrize("fence", ["```", "~~~~", "   ```"])
def test_code_longer_than_the_target_stays_whole(fence):
    code = f"{fence}py\n" + "\n\n".join(f"call({number})" for number in range(100)) + f"\n{fence}"
    assert TARGET < len(code) < TARGET * CODE_FACTOR
    assert [passage.text for passage in split_markdown(f"Before.\n\n{code}\n\nAfter.")] == ["Before.", code, "After."]


def test_code_that_is_far_too_long_is_split_at_line_ends_and_keeps_its_indentation():
    lines = [f"    call({number})  # first. second." for number in range(200)]
    passages = split_markdown("```py\n" + "\n".join(lines) + "\n```")
    assert all(len(passage.text) <= TARGET for passage in passages)
    assert [line for passage in passages for line in passage.text.split("\n")] == ["```py", *lines, "```"]


def test_a_fence_that_never_closes_reaches_the_end():
    (passage,) = split_markdown("```\n# not a heading\n\ntext")
    assert passage.heading is None


def test_a_longer_fence_holds_a_shorter_one():
    (passage,) = split_markdown("````\n```\n# no\n```\n````\n")
    assert passage.heading is None


def test_a_large_paragraph_is_split_in_linear_time():
    assert len(split_text("A short sentence here.\n" * 50_000)) > 1000
