"""What refusals of the cluster mean to the reconcile."""

import pytest

from memory_contracts.errors import Conflict, Rejected, Unavailable
from memory_operator.providers.kafka.failures import meaning


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("TOPIC_ALREADY_EXISTS", Conflict),
        ("UNKNOWN_TOPIC_OR_PART", Conflict),
        ("INVALID_PARTITIONS", Conflict),
        ("NOT_CONTROLLER", Unavailable),
        ("THROTTLING_QUOTA_EXCEEDED", Unavailable),
        ("UNKNOWN", Unavailable),
        ("POLICY_VIOLATION", Rejected),
        ("INVALID_CONFIG", Rejected),
        ("A_CODE_OF_THE_FUTURE", Rejected),
    ],
)
def test_each_refusal_has_its_class_and_names_the_step(name, kind):
    error = meaning(name, "Broker: no.", "create topic a with 1 partition")

    assert type(error) is kind
    assert error.detail == "create topic a with 1 partition: Broker: no"


def test_too_many_replicas_name_the_field_to_change():
    error = meaning("INVALID_REPLICATION_FACTOR", "only 1 broker", "create topic a with 1 partition")

    assert error.field == "kafka.defaults.replicationFactor"
    assert "lower kafka.defaults.replicationFactor, or add brokers" in error.detail


def test_missing_rights_are_listed():
    assert "needs Create, Delete" in meaning("TOPIC_AUTHORIZATION_FAILED", "no", "describe topic a").detail
