"""The secrets of one machine: what files hold, and what happens to those that were lost or edited."""

import stat
from itertools import count

import pytest

from memory_contracts.errors import Rejected, Unavailable
from memory_contracts.v1alpha1 import MemoryCluster, MemoryNamespace
from memory_operator.local.secrets import ADMIN_SECRET, Administrator, LocalSecretStore
from memory_operator.local.state import StateDirectory
from memory_operator.specs.tenant import Credentials, Listen, Tenant
from memory_operator.specs.workload import build_workload

NAMESPACE = MemoryNamespace.model_validate({"metadata": {"name": "research", "namespace": "team-a"}})
CLUSTER = MemoryCluster.model_validate(
    {
        "metadata": {"name": "default"},
        "spec": {"postgres": {"external": {"host": "127.0.0.1", "adminSecretRef": {"name": ADMIN_SECRET}}}},
    }
)

NUMBERS = count(1)


@pytest.fixture
def store(tmp_path) -> LocalSecretStore:
    state = StateDirectory(tmp_path / ".soma")
    state.prepare()
    return LocalSecretStore(state)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / ".soma" / "secrets" / "research"


async def completed(store: LocalSecretStore) -> tuple[Credentials, int]:
    """What a pass of the reconcile makes of the stored credentials; says also how many secrets it had to make."""
    made: list[str] = []

    def generate() -> str:
        made.append(f"generated-secret-{next(NUMBERS)}")
        return made[-1]

    credentials = (await store.stored(NAMESPACE)).complete(generate)
    if made:
        tenant = Tenant(NAMESPACE, CLUSTER, Listen("127.0.0.1", 9595), credentials)
        await store.keep(NAMESPACE, build_workload(tenant).secret)
    return credentials, len(made)


async def test_secrets_are_made_once_and_only_their_owner_reads_them(store, folder):
    made, how_many = await completed(store)

    assert how_many == 2
    assert await completed(store) == (made, 0)
    assert sorted(each.name for each in folder.iterdir()) == [
        "postgres-password-a",
        "slot",
        "token",
    ]
    assert {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()} == {0o600}
    assert {stat.S_IMODE(each.stat().st_mode) for each in (folder, folder.parent)} == {0o700}


@pytest.mark.parametrize(
    ("lost", "text"),
    [
        ("token", None),
        ("postgres-password-a", None),
        ("postgres-password-a", ""),
    ],
)
async def test_a_lost_secret_is_made_anew_and_the_others_stay(store, folder, lost, text):
    await completed(store)
    before = {each.name: each.read_text() for each in folder.iterdir()}
    if text is None:
        (folder / lost).unlink()
    else:
        (folder / lost).write_text(text)

    _, how_many = await completed(store)

    assert how_many == 1
    after = {each.name: each.read_text() for each in folder.iterdir()}
    assert {name for name in after if after[name] != before[name]} == {lost}


async def test_tokens_that_somebody_wrote_into_the_file_count_and_stay(store, folder):
    await completed(store)
    written = "my-own-token-of-the-team\nanother-token-of-the-team\n"
    (folder / "token").write_text(written)
    (folder / "postgres-password-a").unlink()

    credentials, _ = await completed(store)

    assert credentials.api_token.split() == written.split()
    assert (folder / "token").read_text() == written


@pytest.mark.parametrize("text", ["short", "tökën-ünknöwn-hërë-ünd-nöw", "", "long-enough-to-be-one,short"])
async def test_a_token_that_the_api_would_refuse_is_named_with_its_file(store, folder, text):
    await completed(store)
    (folder / "token").write_text(text)

    with pytest.raises(Rejected) as caught:
        await store.stored(NAMESPACE)

    assert str(folder / "token") in caught.value.detail
    assert "correct it, or delete the file" in caught.value.detail
    assert not text or text not in caught.value.detail


async def test_the_slot_in_use_is_remembered(store, folder):
    await completed(store)
    (folder / "slot").write_text("b\n")

    credentials, _ = await completed(store)

    assert credentials.slot == "b"
    assert credentials.postgres_password == (folder / "postgres-password-b").read_text().strip()


async def test_the_only_secret_there_is_belongs_to_the_administrator(store):
    with pytest.raises(Unavailable):
        await store.read("team-a", ADMIN_SECRET)
    store.administrator = Administrator("postgres", "pass/word")

    assert await store.read("team-a", ADMIN_SECRET) == {"username": "postgres", "password": "pass/word"}
    assert "pass/word" not in repr(store.administrator)
    with pytest.raises(Rejected, match="Secret others"):
        await store.read("team-a", "others")
