from pathlib import Path

import pytest

from memory_contracts.errors import Rejected, Unavailable
from memory_contracts.local import LocalEndpoint, write_endpoint
from memory_runtime.cli.endpoint import DEFAULT_URL, Endpoint, find_endpoint

LOCAL = "http://127.0.0.1:9600"


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """A folder below one that a service was started in."""
    state = tmp_path / ".soma"
    state.mkdir()
    (state / "token").write_text("local-token\n")
    write_endpoint(state, LocalEndpoint(endpoint=LOCAL, token_file=state / "token", namespace="team/notes"))
    below = tmp_path / "src" / "deep"
    below.mkdir(parents=True)
    return below


def find(directory: Path, url=None, token=None, token_file=None, **environ: str) -> Endpoint:
    return find_endpoint(url, token, token_file, environ, directory)


def test_the_nearest_state_folder_is_found_from_below(served):
    assert find(served) == Endpoint(LOCAL, "local-token")


def test_options_win_over_the_environment_and_the_environment_over_the_state_folder(served, tmp_path):
    environ = {"SOMA_URL": "http://there:1", "SOMA_API_TOKEN": "theirs"}
    (tmp_path / "file").write_text("from-file")
    assert find(served, **environ) == Endpoint("http://there:1", "theirs")
    assert find(served, url="https://else/", token="mine", **environ) == Endpoint("https://else", "mine")
    assert find(served, token_file=tmp_path / "file", **environ).token == "from-file"


def test_the_local_token_is_never_sent_elsewhere(served):
    assert find(served, url="http://there:1") == Endpoint("http://there:1", None)
    assert find(served, url=f"{LOCAL}/") == Endpoint(LOCAL, "local-token")


def test_a_missing_local_token_file_does_not_matter_for_another_service(served, tmp_path):
    (tmp_path / ".soma" / "token").unlink()
    assert find(served, url="http://there:1").token is None
    with pytest.raises(Rejected, match="cannot read the token"):
        find(served)


def test_a_token_alone_means_the_default_address(tmp_path):
    assert find(tmp_path, token="t") == Endpoint(DEFAULT_URL, "t")


def test_the_first_of_several_tokens_is_used_and_empty_variables_are_absent(tmp_path):
    assert find(tmp_path, SOMA_API_TOKEN="\n one, two\nthree", SOMA_URL="").token == "one"
    (tmp_path / "file").write_text("\nfirst\nsecond\n")
    assert find(tmp_path, SOMA_API_TOKEN="", SOMA_API_TOKEN_FILE=str(tmp_path / "file")).token == "first"


def test_without_any_trace_of_a_service_the_remedy_is_named(tmp_path):
    with pytest.raises(Unavailable, match=r"soma up.*--url"):
        find(tmp_path)


@pytest.mark.parametrize("url", ["localhost:9595", "ftp://x", "http://", "http://[::1", "http://h:99999", "nonsense"])
def test_an_unusable_address_is_rejected(tmp_path, url):
    with pytest.raises(Rejected) as caught:
        find(tmp_path, url=url)
    assert caught.value.field == "--url"


@pytest.mark.parametrize("token", [" ", "a b\x00", "tökén", ","])
def test_a_token_that_no_header_carries_is_rejected_without_being_shown(tmp_path, token):
    with pytest.raises(Rejected) as caught:
        find(tmp_path, token=token)
    assert token not in caught.value.detail or not token.strip(" ,")


def test_two_tokens_are_one_too_many(tmp_path):
    with pytest.raises(Rejected, match="not both"):
        find(tmp_path, token="a", token_file=tmp_path / "file")


@pytest.mark.parametrize(
    ("url", "loopback"),
    [("http://127.0.0.9:1", True), ("http://[::1]:1", True), ("http://localhost", True), ("http://10.0.0.1", False)],
)
def test_loopback_is_recognised(url, loopback):
    assert Endpoint(url).is_loopback is loopback


def test_the_token_does_not_show_in_logs():
    assert "secret" not in repr(Endpoint("http://x", "secret"))
