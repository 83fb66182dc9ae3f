"""Marks, privileges and claims as texts and tables; who wins is shown on a real server."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_contracts.conditions import Reason
from memory_contracts.errors import Rejected
from memory_operator.providers.postgres.acl import excess, lacking, parse_acl
from memory_operator.providers.postgres.claimant import Claimant
from memory_operator.providers.postgres.claims import TenantClaim, outcome
from memory_operator.providers.postgres.marks import Mark, is_ours, parse_mark
from memory_operator.providers.postgres.passwords import REMEMBER_SECONDS, PasswordMemory
from memory_operator.providers.postgres.scram import scram_verifier, verifies
from memory_operator.providers.postgres.tenant import DesiredTenant, Slot
from memory_operator.providers.shapes import Blocked

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def claim(uid: str = "uid-1", identity: str = "east", released: bool = False, after: str = "uid-0") -> TenantClaim:
    return TenantClaim("team-a/notes", uid, identity, frozenset({after}), NOW, NOW if released else None)


@pytest.mark.parametrize(
    ("found", "wins", "words"),
    [
        (claim(), True, ""),
        (claim("uid-2"), False, "held by the object with uid uid-2 of this Kubernetes cluster"),
        (claim("uid-2", "west"), False, "held by the object with uid uid-2 of Kubernetes cluster west"),
        (claim("uid-1", "west"), False, "of Kubernetes cluster west"),
        (claim("uid-2", "west", released=True), False, "may come back for its data"),
        (claim(released=True), False, "may come back"),
    ],
    ids=["ours", "another object", "another cluster", "our uid elsewhere", "released elsewhere", "released"],
)
def test_the_holder_wins_and_others_learn_who_it_is(found, wins, words):
    result = outcome(found, "uid-1", "east")

    assert (result == found) is wins
    if isinstance(result, Blocked):
        assert result.reason is Reason.CLAIMED_BY_ANOTHER
        assert words in result.message


@pytest.mark.parametrize(
    ("found", "opens", "opens_where_names_are_unique"),
    [
        (claim("uid-2"), False, True),
        (claim("uid-2", released=True), True, True),
        (claim("uid-2", "west"), False, False),
        (claim("uid-2", "west", released=True), False, False),
        (claim("uid-2", after="uid-1"), False, False),
        (claim("uid-2", after="uid-1", released=True), True, True),
        (claim(), False, False),
    ],
    ids=[
        *("held here", "released here", "held elsewhere", "released elsewhere"),
        *("held by a later one", "released by a later one", "held already"),
    ],
)
def test_a_claim_is_open_to_a_later_object_of_its_own_cluster(found, opens, opens_where_names_are_unique):
    assert found.open_to("uid-1", Claimant("east")) is opens
    assert found.open_to("uid-1", Claimant("east", 3, unique_names=True)) is opens_where_names_are_unique


def test_the_remedy_quotes_what_it_names():
    result = outcome(claim("it's", "west"), "uid-1", "o'east")

    assert isinstance(result, Blocked)
    assert "uid = 'it''s'" in result.message
    assert "identity = 'o''east'" in result.message


plain = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)


@given(plain, plain, st.one_of(st.just(""), st.uuids().map(str)), st.one_of(st.none(), plain, st.just("My (own) db")))
def test_a_mark_reads_back_as_itself(namespace, name, uid, database):
    mark = Mark(f"{namespace}/{name}", uid, database)

    assert parse_mark(str(mark)) == mark


@pytest.mark.parametrize(
    "comment", [None, "", "our own", "memory-operator: belongs to ", "x memory-operator: belongs to a/b"]
)
def test_another_comment_is_no_mark(comment):
    assert parse_mark(comment) is None


@pytest.mark.parametrize(
    ("found", "ours"),
    [
        (Mark("a/b", "uid-1"), True),
        (Mark("a/b", "uid-0"), True),
        (Mark("a/b", ""), True),
        (Mark("a/b", "uid-2"), False),
        (Mark("a/c", "uid-1"), False),
        (Mark("a/b", "uid-1", "soma"), False),
    ],
    ids=["the same", "a predecessor", "no uid", "another uid", "another tenant", "a role's mark"],
)
def test_whose_a_mark_is(found, ours):
    assert is_ours(str(found), Mark("a/b", "uid-1"), frozenset({"uid-0"})) is ours


# Privileges


def test_privileges_are_read_as_postgres_writes_them():
    acl = parse_acl(["mem_a=arwd/owner", '"Odd ""name"""=U*C/owner', "=r/owner", '"with=sign"=X/o', "torn"])

    assert acl == {
        "mem_a": {"INSERT", "SELECT", "UPDATE", "DELETE"},
        'Odd "name"': {"USAGE WITH GRANT OPTION", "CREATE"},
        "public": {"SELECT"},
        "with=sign": {"EXECUTE"},
    }


READ = frozenset({"SELECT"})


@pytest.mark.parametrize(
    ("acl", "less", "more"),
    [
        ({"a": READ, "b": READ}, False, {}),
        ({"a": READ}, True, {}),
        ({"a": READ, "b": READ | {"INSERT"}}, False, {"b": {"INSERT"}}),
        ({"a": READ, "b": READ, "public": READ}, False, {"public": READ}),
        ({"a": READ, "b": READ, "owner": READ | {"INSERT"}}, False, {}),
        ({"a": READ, "b": READ, "backup": READ}, False, {}),
        ({"a": READ, "b": READ, "mem_x_0a1b2c3d_owner": READ}, False, {"mem_x_0a1b2c3d_owner": READ}),
    ],
    ids=["exact", "less", "more", "everybody", "the owner", "a person's role", "another tenant"],
)
def test_privileges_are_compared_for_tenants_and_everybody(acl, less, more):
    assert lacking(acl, ("a", "b"), READ) is less
    assert excess(acl, ("a", "b"), READ, "owner") == more


# Passwords


def test_a_verifier_verifies_its_password_only():
    verifier = scram_verifier("correct-horse", b"0123456789abcdef")

    assert verifies(verifier, "correct-horse")
    assert not verifies(verifier, "battery-staple")
    assert not verifies("md5d8578edf8458ce06fbc5bb76a58c5ca4", "correct-horse")
    assert not verifies("", "")


def test_a_verifier_is_the_one_of_the_rfc():
    """The example of RFC 7677, section 3."""
    from base64 import b64decode

    verifier = scram_verifier("pencil", b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))

    assert verifier.startswith(
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    )


def test_a_password_beyond_ascii_is_rejected_without_being_shown():
    with pytest.raises(Rejected) as raised:
        scram_verifier("pässword", b"salt")

    assert "pässword" not in str(raised.value)


class Door:
    """Logs in, and counts."""

    def __init__(self) -> None:
        self.opens, self.tries, self.now = True, 0, 0.0

    async def log_in(self, _role: str, _password: str) -> bool:
        self.tries += 1
        return self.opens


def tenant(password: str | None = "secret") -> DesiredTenant:
    return DesiredTenant("a/b", "s", "o", (Slot("a", password, True), Slot("b", None, False)), 5)


async def state_of(memory: PasswordMemory, desired: DesiredTenant, readable: bool, **found: object) -> str:
    role = {"oid": 1, "can_login": True, "verifier": None} | found
    return (await memory.states(desired, {"a": role}, readable=readable))["a"]


async def test_a_login_that_worked_is_remembered_for_less_than_a_minute():
    door = Door()
    memory = PasswordMemory(door.log_in, lambda: door.now)

    for _ in range(3):
        assert await state_of(memory, tenant(), False) == "right"
    door.opens = False
    assert await state_of(memory, tenant(), False) == "right"
    door.now += REMEMBER_SECONDS + 1

    assert await state_of(memory, tenant(), False) == "wrong"
    assert (door.tries, REMEMBER_SECONDS < 60) == (2, True)


@pytest.mark.parametrize("change", [{"oid": 2}, {"password": "other"}], ids=["another role", "another password"])
async def test_what_was_remembered_holds_for_that_role_and_password_only(change):
    door = Door()
    memory = PasswordMemory(door.log_in, lambda: door.now)
    await state_of(memory, tenant(), False)

    await state_of(memory, tenant(change.pop("password", "secret")), False, **change)

    assert door.tries == 2


async def test_a_verifier_that_can_be_read_needs_no_login():
    door = Door()
    memory = PasswordMemory(door.log_in, lambda: door.now)
    verifier = scram_verifier("secret", b"salt")

    states = [
        await state_of(memory, tenant(), True, verifier=verifier),
        await state_of(memory, tenant("other"), True, verifier=verifier),
        await state_of(memory, tenant(), True, verifier=None),
        await state_of(memory, tenant(None), True, verifier=verifier),
    ]

    assert states == ["right", "wrong", "none", "wrong"]
    assert door.tries == 0


async def test_nobody_tries_to_log_in_with_a_role_that_cannot():
    door = Door()
    memory = PasswordMemory(door.log_in, lambda: door.now)

    assert await state_of(memory, tenant(), False, can_login=False) == "unknown"
    assert await state_of(memory, tenant(None), False) == "unknown"
    assert door.tries == 0
