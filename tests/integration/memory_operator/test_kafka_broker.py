"""The brokers of these tests: a crash keeps what was written, and nothing outlives the process that started them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kafka.jars import MissingPart, find_java, kafka_jars
from kafka.world import KafkaWorld
from kafka_fixtures import do_without

from memory_operator.local.processes import observe_process, wait_until_gone

START_AND_WAIT = """
import sys, time
from pathlib import Path
from kafka.broker import KafkaBroker
broker = KafkaBroker(Path(sys.argv[1]))
broker.start()
print(broker.pid, flush=True)
time.sleep(600)
"""
SUPPORT = Path(__file__).parents[2] / "support"


def test_a_broker_dies_with_the_process_that_started_it(kafka_parts, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    command = [sys.executable, "-c", START_AND_WAIT, str(tmp_path / "broker")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as starter:
        assert starter.stdout
        broker = observe_process("broker", int(starter.stdout.readline()))
        assert broker

        starter.send_signal(signal.SIGKILL)

        assert wait_until_gone(broker, 10.0)


def test_what_was_written_survives_a_crash(kafka_plain):
    world, address = KafkaWorld(kafka_plain), kafka_plain.bootstrap_servers
    world.create("survivor", partitions=3)
    world.produce("survivor", b"a record")

    kafka_plain.kill()
    assert kafka_plain.pid is None
    kafka_plain.start()

    assert kafka_plain.bootstrap_servers == address
    assert world.partitions("survivor") == {"survivor": 3}
    assert sum(world.records("survivor", partition) for partition in range(3)) == 1
    world.delete("survivor")


@pytest.mark.parametrize("find", [find_java, kafka_jars])
def test_a_missing_part_is_named_with_the_way_to_get_it(find, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SOMA_CACHE", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)

    with pytest.raises(MissingPart, match="apt-get install") as missing:
        find()

    assert "\n" not in str(missing.value)


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_a_missing_part_skips_here_and_fails_where_it_was_promised(ci, outcome, monkeypatch):
    monkeypatch.setenv("CI", ci)

    with pytest.raises(outcome, match="no Java"):
        do_without(MissingPart("no Java"))
