"""What the Redis plan decides; that the rules hold is shown on a real server."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory_contracts.conditions import Reason
from memory_contracts.naming import TenantNames
from memory_operator.providers.redis.acl import hashed, owner_mark, parse_line, parse_user
from memory_operator.providers.redis.connection import RedisConnection
from memory_operator.providers.redis.plan import (
    DeleteKeys,
    DeleteUser,
    DesiredUser,
    ObservedUser,
    SetUser,
    drifted_tenants,
    plan,
    plan_deletion,
)
from memory_operator.providers.shapes import Blocked, Claim, Release

NAMES = TenantNames("team-a", "research")
USER, PREFIX = NAMES.redis_user, NAMES.redis_prefix
DESIRED = DesiredUser(NAMES.qualified, "uid-1", USER, PREFIX, "secret-password")
STATES = {
    "active": DESIRED,
    "read-only": replace(DESIRED, read_only=True),
    "fenced": replace(DESIRED, enabled=False),
}


def converged(desired: DesiredUser = DESIRED) -> ObservedUser:
    return ObservedUser(frozenset(desired.rules), password_works=desired.enabled, claimed=True)


def absent(claimed: bool = False) -> ObservedUser:
    return ObservedUser(None, password_works=False, claimed=claimed)


def with_owner(*uids: str, claimed: bool = True) -> ObservedUser:
    """A user as ours is, but for its mark."""
    rules = frozenset(DESIRED.rules) - {owner_mark(PREFIX, DESIRED.uid)}
    return ObservedUser(rules | {owner_mark(PREFIX, uid) for uid in uids}, password_works=True, claimed=claimed)


def the_step(observed: ObservedUser, desired: DesiredUser = DESIRED) -> SetUser:
    steps = plan(desired, observed)
    assert isinstance(steps, list)
    (step,) = steps
    assert isinstance(step, SetUser)
    return step


@pytest.mark.parametrize("desired", STATES.values(), ids=STATES)
def test_a_converged_pair_needs_no_step(desired):
    assert plan(desired, converged(desired)) == []


def test_the_claim_is_written_before_the_user_is_made():
    steps = plan(DESIRED, absent())

    assert isinstance(steps, list)
    assert steps[0] == Claim((USER,))
    assert [step.summary for step in steps] == [f"claim {USER}", f"set user {USER}: may use {PREFIX}* only"]


def test_a_claimed_user_is_made_without_claiming_again():
    assert the_step(absent(claimed=True)).rules == DESIRED.rules


@pytest.mark.parametrize("before", STATES.values(), ids=STATES)
@pytest.mark.parametrize("after", STATES.values(), ids=STATES)
def test_each_state_is_one_step_from_another(before, after):
    steps = plan(after, converged(before))

    assert isinstance(steps, list)
    assert len(steps) == (before != after)


@pytest.mark.parametrize(
    ("extra", "lacking", "words"),
    [
        ({"~*"}, set(), "to take ~*"),
        ({"nopass"}, set(), "to take nopass"),
        ({"+@all"}, {"-@all"}, "to take +@all; to give -@all"),
        (set(), {"+get"}, "to give +get"),
        ({"off"}, {"on"}, "to take off; to give on"),
        ({hashed("another")}, {hashed("secret-password")}, "to take a password; to give a password"),
        ({"(~other:*", "resetchannels", "+@all)"}, set(), "to take (~other:*, +@all)"),
        ({f"+more{number}" for number in range(9)}, set(), "and 3 more"),
    ],
)
def test_drift_is_named_in_the_step_that_ends_it(extra, lacking, words):
    rules = frozenset(DESIRED.rules) - lacking | extra

    step = the_step(replace(converged(), rules=rules))

    assert words in step.summary
    assert step.rules == DESIRED.rules


def test_a_login_that_fails_is_a_step_although_the_rules_are_right():
    assert "password was refused" in the_step(replace(converged(), password_works=False)).summary


@pytest.mark.parametrize("owners", [(), ("uid-of-another",)])
def test_a_user_of_somebody_else_blocks(owners):
    blocked = plan(DESIRED, with_owner(*owners, claimed=False))

    assert isinstance(blocked, Blocked)
    assert blocked.reason is (Reason.CLAIMED_BY_ANOTHER if owners else Reason.FOREIGN_OBJECT)
    assert f"ACL DELUSER {USER}" in blocked.message


def test_two_ledgers_that_both_hold_the_claim_do_not_fight_over_the_user():
    blocked = plan(DESIRED, with_owner("uid-of-another", claimed=True))

    assert isinstance(blocked, Blocked)
    assert blocked.reason is Reason.CLAIMED_BY_ANOTHER
    assert "uid-of-another" in blocked.message


def test_a_user_with_our_mark_is_ours_also_for_a_ledger_that_knows_the_server_by_another_address():
    assert plan(DESIRED, replace(converged(), claimed=False)) == [Claim((USER,))]


def test_a_claimed_user_whose_mark_was_edited_away_gets_it_back():
    assert owner_mark(PREFIX, DESIRED.uid) in the_step(with_owner()).rules


def test_a_user_that_an_earlier_object_left_is_taken_over():
    successor = replace(DESIRED, uid="uid-2", predecessors=frozenset({"uid-1"}))

    step = the_step(converged(), successor)

    assert owner_mark(PREFIX, "uid-2") in step.rules
    assert owner_mark(PREFIX, "uid-1") not in step.rules


def test_deletion_ends_with_the_claim():
    assert plan_deletion(DESIRED, converged()) == [DeleteUser(USER), DeleteKeys(PREFIX), Release((USER,))]


@pytest.mark.parametrize(
    ("observed", "steps"),
    [
        (absent(), []),
        (absent(claimed=True), [DeleteKeys(PREFIX), Release((USER,))]),
        (with_owner(claimed=False), []),
        (with_owner("uid-of-another", claimed=False), []),
        (with_owner("uid-of-another", claimed=True), [Release((USER,))]),
        (
            replace(converged(), claimed=False),
            [Claim((USER,)), DeleteUser(USER), DeleteKeys(PREFIX), Release((USER,))],
        ),
    ],
    ids=["nothing there", "user gone, claim left", "foreign", "of another", "of another, claimed too", "only marked"],
)
def test_deletion_removes_what_is_ours_and_nothing_else(observed, steps):
    assert plan_deletion(DESIRED, observed) == steps


def test_deletion_needs_no_password():
    forgotten = replace(DESIRED, password="")

    assert plan_deletion(forgotten, converged())
    with pytest.raises(ValueError, match="needs a password"):
        plan(forgotten, absent())


def test_the_drifted_are_those_for_which_a_pass_would_do_something():
    kinds = {
        "converged": frozenset(DESIRED.rules),
        "edited": frozenset(DESIRED.rules) | {"+flushall"},
        "another-password": frozenset(replace(DESIRED, password="other").rules),
        "gone": None,
        "unclaimed": frozenset({"on", "-@all"}),
    }
    tenants = [replace(DESIRED, tenant=kind, user=kind) for kind in kinds]
    users = [("admin", frozenset({"on"})), *((kind, rules) for kind, rules in kinds.items() if rules is not None)]

    assert drifted_tenants(tenants, users, {*kinds} - {"unclaimed"}) == {*kinds} - {"converged"}


def test_nothing_shows_the_password_nor_its_hash():
    steps = plan(DESIRED, absent())
    assert isinstance(steps, list)

    shown = repr(steps) + repr(DESIRED) + "".join(step.summary for step in steps)
    shown += repr(RedisConnection("host", 6379, "admin", "secret-password"))

    assert "secret-password" not in shown
    assert hashed("secret-password")[1:] not in shown
    assert "secret-password" not in "".join(DESIRED.rules)


@pytest.mark.parametrize("prefix", ["", "mem", "mem:*:", "mem:[a]:", "mem: a:", "Mem:", "mem:?", "mem::", ":"])
def test_a_prefix_that_would_match_more_than_it_says_is_refused(prefix):
    with pytest.raises(ValueError, match="cannot be a prefix"):
        replace(DESIRED, prefix=prefix)


@pytest.mark.parametrize("user", ["", "default", "two words", "a*"])
def test_the_user_of_a_tenant_has_a_plain_name(user):
    with pytest.raises(ValueError, match="name of a tenant's user"):
        replace(DESIRED, user=user)


DNS_NAME = st.text("a1.-", max_size=8).map("x{}x".format)


@settings(deadline=None)
@given(DNS_NAME, DNS_NAME, DNS_NAME, DNS_NAME)
def test_the_names_of_tenants_are_taken_and_no_prefix_begins_another(namespace, name, other_namespace, other_name):
    mine, theirs = TenantNames(namespace, name), TenantNames(other_namespace, other_name)

    user = DesiredUser(mine.qualified, "uid", mine.redis_user, mine.redis_prefix, "password")

    assert mine == theirs or not theirs.redis_prefix.startswith(user.prefix)


@pytest.mark.parametrize("desired", STATES.values(), ids=STATES)
def test_a_line_and_an_answer_of_the_server_say_the_same(desired):
    rules = desired.rules
    passwords = [rule[1:] for rule in rules if rule.startswith("#")]
    answer: list[object] = [
        "flags", [rules[0], "sanitize-payload"],
        "passwords", passwords,
        "commands", " ".join(rule for rule in reversed(rules) if rule[0] in "+-"),
        "keys", " ".join(rule for rule in rules if rule[0] in "~%"),
        "channels", " ".join(rule for rule in rules if rule[0] == "&"),
        "databases", "alldbs",
        "selectors", [],
    ]  # fmt: skip

    assert parse_line(f"user {USER} {rules[0]} sanitize-payload {' '.join(rules[1:])}") == (USER, frozenset(rules))
    assert parse_user(answer) == frozenset(rules)


def test_a_user_that_may_use_every_channel_is_not_taken_for_one_that_may_not():
    answer: list[object] = ["flags", ["on", "nopass"], "passwords", [], "commands", "+@all", "keys", "~*"]

    assert parse_user([*answer, "channels", "&*", "selectors", []]) == {"on", "nopass", "~*", "&*", "+@all"}
