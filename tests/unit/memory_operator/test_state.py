"""The state directory."""

import multiprocessing
import os
import stat

import pytest

from memory_contracts.errors import Conflict, Rejected
from memory_contracts.v1alpha1 import MemoryNamespace, MemoryNamespaceStatus
from memory_operator.local.files import ROTATE_BYTES, rotate, tail, write_atomically, write_once
from memory_operator.local.processes import observe_process
from memory_operator.local.state import LocalOptions, LocalStatus, ProcessStatus, StateDirectory, find_state


def namespace(name: str = "research", **spec: object) -> MemoryNamespace:
    return MemoryNamespace.model_validate({"metadata": {"name": name, "namespace": "team-a"}, "spec": spec})


@pytest.fixture
def state(tmp_path) -> StateDirectory:
    found = StateDirectory(tmp_path / "a place" / ".soma")
    found.prepare()
    return found


def mode_of(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_generation_counts_changes_of_the_spec(state):
    generations = [
        state.accept(each).metadata.generation
        for each in (namespace(), namespace(), namespace(api={"replicas": 2}), namespace(api={"replicas": 2}))
    ]

    assert generations == [1, 1, 2, 2]
    desired = state.desired()
    assert desired
    assert (desired.metadata.generation, desired.spec.api.replicas) == (2, 2)


def test_one_directory_holds_the_memories_of_one_namespace(state):
    state.accept(namespace())

    with pytest.raises(Rejected, match="holds the memories of team-a/research"):
        state.accept(namespace("other"))

    desired = state.desired()
    assert desired
    assert desired.metadata.name == "research"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"clusterRef": {"name": "elsewhere"}}, "spec.clusterRef cannot change"),
        ({"embedding": {"provider": "hash"}}, "spec.embedding cannot change"),
        ({"events": {"partitions": 2}}, "spec.events.partitions can only grow"),
    ],
    ids=["another cluster", "another model", "fewer partitions"],
)
def test_what_an_api_server_would_refuse_is_refused_here_with_what_to_do(state, change, sentence):
    state.accept(namespace())

    with pytest.raises(Rejected) as caught:
        state.accept(namespace(**change))

    assert caught.value.detail.startswith(sentence)
    assert caught.value.detail.endswith("; to begin anew: soma down --purge, or another --state-dir")
    assert state.desired().spec == namespace().spec


def test_each_directory_makes_an_object_of_its_own_and_stays_with_it(state, tmp_path):
    elsewhere = StateDirectory(tmp_path / "another place")
    elsewhere.prepare()

    first, other = state.accept(namespace()), elsewhere.accept(namespace())

    assert first.metadata.uid
    assert first.metadata.uid != other.metadata.uid
    assert state.accept(namespace(api={"replicas": 2})).metadata.uid == first.metadata.uid
    assert StateDirectory(state.path).desired().metadata.uid == first.metadata.uid
    state.desired_file.unlink()
    assert state.accept(namespace()).metadata.uid == first.metadata.uid


def test_the_uid_of_a_file_that_came_out_of_a_cluster_is_not_taken_over(state):
    copied = MemoryNamespace.model_validate({"metadata": {"name": "research", "uid": "of-another-cluster"}})

    assert state.accept(copied).metadata.uid == state.uid() != "of-another-cluster"


def test_status_and_options_come_back_as_written(state):
    status = LocalStatus(
        supervisor=7,
        namespace=MemoryNamespaceStatus(endpoint="http://127.0.0.1:9595"),
        processes=[ProcessStatus(name="api", pid=1, started="x", ready=True)],
    )
    state.write_status(status)
    state.write_options(LocalOptions(port=9700, postgres_url="postgresql://a:b@c/d"))

    assert state.read_status() == status
    assert state.read_options() == LocalOptions(port=9700, postgres_url="postgresql://a:b@c/d")
    assert mode_of(state.path / "options.json") == 0o600


def test_a_damaged_status_counts_as_none(state):
    (state.path / "status.json").write_text("{half")

    assert state.read_status() == LocalStatus()


def test_there_is_one_supervisor_at_most(state):
    assert state.supervisor() is None

    with state.locked():
        assert state.supervisor() == observe_process("supervisor", os.getpid())
        with pytest.raises(Conflict, match="another supervisor"), StateDirectory(state.path).locked():
            pass

    assert state.supervisor() is None


def _die_with_lock(path) -> None:
    with StateDirectory(path).locked():
        os._exit(1)


def test_the_lock_of_a_supervisor_that_died_is_free(state):
    process = multiprocessing.get_context("spawn").Process(target=_die_with_lock, args=(state.path,))
    process.start()
    process.join()

    assert state.supervisor() is None
    with state.locked():
        pass


def test_the_nearest_directory_is_found_from_below(state, tmp_path):
    state.write_options(LocalOptions())
    below = state.path.parent / "src" / "deep"
    below.mkdir(parents=True)

    assert find_state(below) == state.path
    assert find_state(tmp_path) == tmp_path / ".soma"


def test_purge_deletes_what_is_ours_and_nothing_else(state):
    state.accept(namespace())
    precious = state.path / "precious.txt"
    precious.write_text("mine")

    state.purge()

    assert list(state.path.iterdir()) == [precious]
    precious.unlink()
    state.purge()
    assert not state.path.exists()


def test_a_file_is_written_whole_with_its_mode(tmp_path):
    file = tmp_path / "secret"

    write_atomically(file, "old and long")
    write_atomically(file, "new", mode=0o600)

    assert file.read_text() == "new"
    assert mode_of(file) == 0o600
    assert list(tmp_path.iterdir()) == [file]


def _write_once(path, barrier) -> None:
    barrier.wait()
    write_once(path, str(os.getpid()))


def test_of_several_first_writers_one_wins(tmp_path):
    file, context = tmp_path / "identity", multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    writers = [context.Process(target=_write_once, args=(file, barrier)) for _ in range(3)]
    for each in writers:
        each.start()
    for each in writers:
        each.join(20)

    winner = file.read_text()
    assert winner in {str(each.pid) for each in writers}
    write_once(file, "late")
    assert file.read_text() == winner
    assert list(tmp_path.iterdir()) == [file]


def test_a_large_log_makes_room(tmp_path):
    log = tmp_path / "api.log"
    log.write_bytes(b"x" * (ROTATE_BYTES + 1))

    rotate(log)

    assert not log.exists()
    assert (tmp_path / "api.log.1").stat().st_size == ROTATE_BYTES + 1


def test_the_tail_begins_after_the_offset(tmp_path):
    log = tmp_path / "api.log"
    log.write_text("one\ntwo\nthree\n")

    assert tail(log, 2) == "two\nthree"
    assert tail(log, 5, offset=4) == "two\nthree"
    assert tail(log, 5, offset=99) == "one\ntwo\nthree"  # rotated meanwhile
    assert tail(tmp_path / "none", 5) == ""
