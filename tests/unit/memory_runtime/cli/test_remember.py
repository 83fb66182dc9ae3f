import json
import os

import pytest

from memory_contracts.identifiers import canonical_coordinate, derive_coordinate
from memory_runtime.cli import files
from memory_runtime.cli.documents import Document
from memory_runtime.cli.ingest import Entry, batches


def at(source, number):
    return canonical_coordinate(derive_coordinate("passage", source, str(number)))


def long_text(paragraphs):
    return "\n\n".join(f"{number} {'x' * 500}" for number in range(paragraphs))


def test_a_markdown_file_becomes_passages_with_their_origin(soma_here, service, folder):
    (folder / "my notes").mkdir()
    (folder / "my notes" / "a b.md").write_text("# Title\n\nOne.\n\n## Sub\n\nTwo.")
    result = soma_here("remember", "my notes")
    assert result.exit_code == 0
    assert result.stdout.startswith("Remembered 1 file, 2 passages in ")
    source = "my notes/a b.md"
    assert service.memories[at(source, 1)]["payload"] == {
        "text": "## Sub\n\nTwo.",
        "source": source,
        "heading": "Title > Sub",
        "line": 5,
        "passage": 1,
    }
    assert {memory["type"] for memory in service.memories.values()} == {"semantic"}


def test_remembering_again_updates_and_deletes_what_is_gone(soma_here, service, folder):
    (folder / "a.txt").write_text(long_text(6))
    soma_here("remember", "a.txt")
    (folder / "a.txt").write_text(long_text(2))
    result = soma_here("remember", "./a.txt")
    assert "4 stale passages deleted" in result.stdout
    assert list(service.memories) == [at("a.txt", 0), at("a.txt", 1)]
    assert [memory["version"] for memory in service.memories.values()] == [2, 2]


def test_the_stale_tail_is_deleted_from_its_end(soma_here, service, folder):
    (folder / "a.txt").write_text(long_text(4))
    soma_here("remember", "a.txt")
    (folder / "a.txt").write_text("")
    service.requests.clear()
    soma_here("remember", "a.txt")
    deleted = [request.path for request in service.requests if request.method == "DELETE"]
    assert deleted == [f"/memories/{at('a.txt', number)}" for number in (3, 2, 1, 0)]


def test_a_file_has_one_name_however_it_is_given(soma_here, service, folder):
    (folder / "d").mkdir()
    (folder / "d" / "a.txt").write_text("hello")
    soma_here("remember", "d/a.txt", "./d", str(folder / "d" / "a.txt"), "d//a.txt")
    assert list(service.memories) == [at("d/a.txt", 0)]
    assert service.memories[at("d/a.txt", 0)]["version"] == 1


def test_json_lines_keep_their_payload_and_may_say_where_they_live(soma_here, service, folder):
    lines = [
        '"just text"',
        '{"who": "Ada", "coord": [1, 2], "type": "episodic", "importance": 3}',
        '{"payload": {"a": 1}}',
    ]
    (folder / "m.jsonl").write_text("\n".join(lines))
    assert soma_here("remember", "m.jsonl").exit_code == 0
    kept = service.memories
    assert kept[at("m.jsonl", 0)]["payload"] == {"text": "just text", "source": "m.jsonl", "line": 1, "passage": 0}
    assert kept["1.0,2.0"] | {"payload": {}} == kept["1.0,2.0"] | {"payload": {}, "type": "episodic", "importance": 3}
    assert kept["1.0,2.0"]["payload"]["who"] == "Ada"
    assert kept[at("m.jsonl", 2)]["payload"] == {"a": 1}


def test_standard_input_is_known_by_its_content(soma_here, service):
    for text in ("first", "second", "first"):
        assert soma_here("remember", "-", text=text).exit_code == 0
    assert sorted(service.texts()) == ["first", "second"]
    assert {memory["payload"]["source"] for memory in service.memories.values()} == {"stdin"}


def test_other_types_are_counted_and_hidden_ones_are_not_looked_at(soma_here, service, folder):
    for name in ("a.TXT", "b.png", "c", ".hidden.txt", ".git/d.txt", "sub/.e/f.md"):
        (folder / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "in" / name).write_text(name)
    result = soma_here("remember", "in")
    assert service.texts() == ["a.TXT"]
    assert "2 files of other types skipped" in result.stdout


def test_a_folder_is_read_even_when_its_own_name_is_hidden(soma_here, service, folder):
    (folder / ".notes").mkdir()
    (folder / ".notes" / "a.txt").write_text("hello")
    soma_here("remember", ".notes")
    assert service.texts() == ["hello"]


def test_links_in_circles_end(soma_here, service, folder):
    (folder / "in").mkdir()
    (folder / "in" / "a.txt").write_text("hello")
    (folder / "in" / "loop").symlink_to(folder / "in", target_is_directory=True)
    assert soma_here("remember", "in").exit_code == 0
    assert service.texts() == ["hello"]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"], ids=["empty", "blank", "only a mark"])
def test_an_empty_file_is_no_failure(soma_here, service, folder, content):
    (folder / "a.txt").write_bytes(content)
    result = soma_here("remember", "a.txt")
    assert (result.exit_code, service.memories) == (0, {})
    assert result.stdout.startswith("Remembered 1 file, 0 passages")


def test_byte_order_mark_and_windows_line_ends_are_no_part_of_the_text(soma_here, service, folder):
    (folder / "a.md").write_bytes(b"\xef\xbb\xbf# Title\r\n\r\nOne.\r\nTwo.")
    soma_here("remember", "a.md")
    assert service.texts() == ["# Title\n\nOne.\nTwo."]
    assert service.memories[at("a.md", 0)]["payload"]["heading"] == "Title"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("b.txt", b"caf\xe9", "not UTF-8 text (byte 3)"),
        ("b.txt", "text".encode("utf-16"), "not UTF-8 text (byte 0)"),
        ("b.txt", b"\xed\xa0\x80", "not UTF-8 text (byte 0)"),
        ("b.txt", b"a\0b", "not a text: it holds NUL characters"),
        ("b.txt", b"x" * (2**20 + 1), "a line is longer than 1 MiB"),
        ("b.jsonl", b'"a"\n[]', "line 2: a memory is a string or an object"),
        ("b.jsonl", rb'"\ud800"', "line 1: a text holds a lone surrogate, which no UTF-8 can carry"),
    ],
)
def test_a_file_that_cannot_be_read_is_reported_and_the_others_go(request, soma_here, name, content, reason):
    folder, service = request.getfixturevalue("folder"), request.getfixturevalue("service")
    (folder / name).write_bytes(content)
    (folder / "a.txt").write_text("before")
    (folder / "c.txt").write_text("after")
    result = soma_here("remember", ".")
    assert (result.exit_code, result.stderr) == (1, f"{name}: {reason}\n")
    assert service.texts() == ["before", "after"]


def test_what_is_no_regular_file_is_reported_and_not_waited_for(soma_here, service, folder):
    os.mkfifo(folder / "pipe.txt")
    (folder / "broken.md").symlink_to("nowhere")
    (folder / "self.md").symlink_to("self.md")
    result = soma_here("remember", ".", "broken.md")
    assert result.exit_code == 1
    assert sorted(line.split(":")[0] for line in result.stderr.splitlines()) == ["broken.md", "pipe.txt", "self.md"]


def test_a_file_larger_than_the_limit_is_reported(soma_here, folder, monkeypatch):
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 2**20)
    (folder / "a.txt").write_bytes(b"x\n" * 2**20)
    assert "a.txt: larger than 1 MiB" in soma_here("remember", ".").stderr
    assert "stdin: larger than 1 MiB" in soma_here("remember", "-", text=b"x\n" * 2**20).stderr


def test_a_name_that_is_not_utf_8_is_reported(soma_here, service, folder):
    (folder / os.fsdecode(b"\xff.txt")).write_text("x")
    (folder / "a.txt").write_text("fine")
    result = soma_here("remember", ".", "-o", "json")
    assert result.exit_code == 1
    assert "its name is not UTF-8" in result.stderr
    assert json.loads(result.stdout)["passages"] == 1


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing.md", "does not exist"),
        ("call the dentist", "soma remember -"),
        ("call " * 100, "soma remember -"),
        ("a.pdf", "is not one of .txt .md"),
    ],
)
def test_a_path_that_cannot_work_is_exit_code_2_and_nothing_is_stored(soma_here, service, folder, path, message):
    (folder / "a.txt").write_text("hello")
    (folder / "a.pdf").write_text("hello")
    result = soma_here("remember", "a.txt", path)
    assert result.exit_code == 2
    assert message in result.stderr
    assert service.requests == []


def test_a_memory_the_service_rejects_costs_only_its_own_file(soma_here, service, folder):
    service.refuses_text = "bad"
    (folder / "a.txt").write_text("good a")
    (folder / "b.txt").write_text(f"{'y' * 600}\n\n{'bad' * 200}")
    (folder / "c.txt").write_text("good c")
    result = soma_here("remember", ".")
    assert result.exit_code == 1
    assert result.stderr == "b.txt: passage 1: the text is refused\n"
    assert service.texts() == ["good a", "good c"]


def test_a_rejection_that_names_no_memory_costs_the_request(soma_here, service, folder):
    service.answers_first = [(413, {"detail": "too large"}, {})]
    (folder / "a.txt").write_text("a")
    (folder / "b.txt").write_text("b")
    result = soma_here("remember", ".")
    assert (result.exit_code, result.stderr) == (1, "a.txt: too large\nb.txt: too large\n")


def test_an_outage_in_the_middle_says_how_far_it_came(soma_here, service, folder):
    (folder / "a.txt").write_text(long_text(501))
    (folder / "b.txt").write_text("b")
    answer = service.answer
    down = (503, {"detail": "the database is down"}, {})
    service.answer = lambda request: down if service.memories and request.method == "POST" else answer(request)
    result = soma_here("remember", "a.txt", "b.txt")
    assert result.exit_code == 3
    assert result.stderr == (
        "Error: the database is down (500 passages were stored before; the same command goes on from there)\n"
    )


def test_a_wrong_token_ends_the_run_at_once(soma_here, service, folder):
    (folder / "a.txt").write_text("a")
    assert soma_here("remember", ".", "--token", "wrong").exit_code == 4
    assert len(service.requests) == 1


def test_many_passages_go_in_requests_of_bounded_size(soma_here, service, folder):
    (folder / "m.jsonl").write_text("\n".join(json.dumps(f"{number} {'x' * 10_000}") for number in range(700)))
    soma_here("remember", "m.jsonl")
    requests = service.calls("POST", "/store_bulk")
    assert len(service.memories) == 700
    assert all(len(request.body) <= 2 * 2**20 + 64 and len(request.json["items"]) <= 500 for request in requests)
    assert len({request.headers["Idempotency-Key"] for request in requests}) == len(requests) > 3


def test_the_summary_is_there_for_programs(soma_here, folder):
    (folder / "a.txt").write_text("a")
    (folder / "b.txt").write_bytes(b"\xff")
    (folder / "c.png").write_bytes(b"")
    summary = json.loads(soma_here("remember", ".", "-o", "json").stdout)
    assert summary.pop("seconds") >= 0
    assert summary == {
        "files": 1,
        "passages": 1,
        "removed": 0,
        "skipped": 1,
        "failed": [{"source": "b.txt", "detail": "not UTF-8 text (byte 0)"}],
    }


def test_progress_is_shown_on_a_terminal_only(soma_here, folder, monkeypatch):
    (folder / "a.txt").write_text("a")
    assert soma_here("remember", ".").stderr == ""
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "remembering" in soma_here("remember", ".").stderr


def test_an_entry_too_big_for_any_request_goes_alone():
    document = Document("a", "a", ({}, {}, {}), 0)
    entries = [Entry(document, 0, 10), Entry(document, 1, 500), Entry(document, 2, 10)]
    assert [len(batch) for batch in batches(entries, max_items=2, max_bytes=100)] == [1, 1, 1]
