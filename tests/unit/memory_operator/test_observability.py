"""What the operator shows of itself: metrics, probes over HTTP, logs."""

import asyncio
import contextlib
import json
import logging
import socket
import threading
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from memory_contracts.errors import Unavailable
from memory_operator.controller import metrics
from memory_operator.controller.http_server import HealthApp, HealthServer, Readiness
from memory_operator.controller.logs import JsonFormatter, configure_logging
from memory_operator.controller.schedule import Priority
from memory_operator.controller.watchdog import Watchdog
from memory_operator.controller.work_queue import QueueMetrics

TOKEN = "eyJhbGciOiJSUzI1NiIsImtpZCI6IiJ9.eyJpc3MiOiJrdWJlcm5ldGVz"


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(f"memory_operator_{name}", labels) or 0.0


# --- metrics


def test_a_pass_is_timed_and_counted_by_its_result():
    counted, timed = (
        value("reconcile_total", kind="A", result="ready"),
        value("reconcile_duration_seconds_count", kind="A"),
    )

    with metrics.reconciling("A") as ended:
        ended("ready")

    assert value("reconcile_total", kind="A", result="ready") == counted + 1
    assert value("reconcile_duration_seconds_count", kind="A") == timed + 1


def test_a_pass_that_ends_by_an_error_is_counted_as_one():
    with pytest.raises(ZeroDivisionError), metrics.reconciling("B"):
        raise ZeroDivisionError

    assert value("reconcile_total", kind="B", result="error") == 1


def test_the_queue_tells_its_metrics():
    queue: QueueMetrics = metrics.MeasuredQueue()
    adds, retries = value("queue_adds_total", priority="user-edit"), value("retries_total")
    latencies, works = (
        value("queue_latency_seconds_count", priority="drift"),
        value("queue_work_duration_seconds_count"),
    )

    queue.added(Priority.USER_EDIT)
    queue.depth(3, 7)
    queue.started(Priority.DRIFT, 0.2)
    queue.finished(1.5)
    queue.retried()

    assert value("queue_adds_total", priority="user-edit") == adds + 1
    assert (value("queue_depth", state="ready"), value("queue_depth", state="waiting")) == (3, 7)
    assert value("queue_latency_seconds_count", priority="drift") == latencies + 1
    assert value("queue_work_duration_seconds_count") == works + 1
    assert value("retries_total") == retries + 1


@pytest.mark.parametrize(
    ("happen", "name", "labels", "by"),
    [
        (lambda: metrics.kubernetes_request("GET", "T", "200"), "kubernetes_requests_total",
         {"verb": "GET", "kind": "T", "code": "200"}, 1),
        (lambda: metrics.drift_detected(corrected=False), "drift_detected_total", {}, 1),
        (lambda: metrics.drift_detected(corrected=True), "drift_corrected_total", {}, 1),
        (lambda: metrics.event_handled("t"), "events_total", {"result": "t"}, 1),
        (lambda: metrics.watch_restarted("T"), "watch_restarts_total", {"kind": "T"}, 1),
    ],
    ids=["request", "drift", "corrected", "event", "watch"],
)  # fmt: skip
def test_what_happens_is_counted(happen, name, labels, by):
    before = value(name, **labels)

    happen()

    assert value(name, **labels) == before + by


def test_who_leads_is_asked_at_each_scrape():
    leading = True
    metrics.lead_by(lambda: leading)
    assert value("leader") == 1

    leading = False
    assert value("leader") == 0


def test_namespaces_are_counted_by_whether_they_are_ready():
    metrics.count_namespaces(total=5, ready=3)

    assert (value("namespaces", ready="true"), value("namespaces", ready="false")) == (3, 2)


# --- probes


class Operator:
    """What the server asks."""

    problems: list[str]

    def __init__(self) -> None:
        self.problems = []
        self.state = Readiness(True, "leads; caches are filled")

    @property
    def app(self) -> HealthApp:
        return HealthApp(lambda: self.problems, lambda: self.state)


@pytest.fixture
def operator() -> Operator:
    return Operator()


@pytest.fixture
def client(operator):
    with (
        HealthServer(operator.app, 0, "127.0.0.1") as server,
        httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client,
    ):
        yield client


def test_liveness_fails_with_the_watchdogs_words(client, operator):
    assert (client.get("/healthz").status_code, client.get("/healthz").json()) == (200, {"ok": True, "problems": []})

    operator.problems = ["control-loop gave no sign of life for 31 s; 30 s are allowed"]

    answer = client.get("/healthz")
    assert answer.status_code == 503
    assert answer.json() == {"ok": False, "problems": operator.problems}


def test_a_replica_that_stands_by_is_ready_and_says_so(client, operator):
    operator.state = Readiness(True, "stands by; pod-1 leads")
    assert (client.get("/readyz").status_code, client.get("/readyz").json()["detail"]) == (
        200,
        "stands by; pod-1 leads",
    )

    operator.state = Readiness(False, "the cache of Secrets is not filled")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"ok": False, "detail": "the cache of Secrets is not filled"})


def test_the_metrics_can_be_scraped(client):
    metrics.event_handled("created")
    answer = client.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain")
    names = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {"memory_operator_events", "memory_operator_queue_depth", "process_resident_memory_bytes"} <= names


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/metrics/", 404), ("POST", "/healthz", 405), ("HEAD", "/healthz", 200)],
)
def test_nothing_else_is_offered(client, method, path, status):
    answer = client.request(method, path)

    assert answer.status_code == status
    if status == 405:
        assert answer.headers["allow"] == "GET, HEAD"
    if method == "HEAD":
        assert answer.content == b""


def test_a_fault_in_the_readiness_is_an_error_and_not_the_end(client, operator):
    operator.state = None

    assert client.get("/readyz").status_code == 500
    assert client.get("/healthz").status_code == 200


async def test_probes_are_answered_while_the_event_loop_of_the_work_stands_still(operator):
    watchdog = Watchdog()
    watchdog.expect("control-loop", within=0.2)
    answers = []

    def probe(port: int) -> None:
        answers.append(httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False))

    with HealthServer(HealthApp(watchdog.problems, lambda: operator.state), 0, "127.0.0.1") as server:
        await asyncio.sleep(0.3)
        prober = threading.Thread(target=probe, args=(server.port,))
        prober.start()
        prober.join()  # blocks this loop until there is an answer

    assert answers[0].status_code == 503
    assert "control-loop" in answers[0].json()["problems"][0]


def test_it_starts_and_stops_within_a_second_though_clients_hold_connections(operator):
    before = threading.active_count()
    began = time.monotonic()
    with HealthServer(operator.app, 0, "127.0.0.1") as server:
        port = server.port
        idle = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)
        assert idle.get("/healthz").status_code == 200
        half = socket.create_connection(("127.0.0.1", port))
        half.sendall(b"GET /healthz HTTP/1.1\r\n")
        # Answered after the half request was accepted.
        assert httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200
    took = time.monotonic() - began

    idle.close()
    half.close()
    assert threading.active_count() == before
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))
    assert took < 5.0  # a second on a quiet machine


def loopback_has_ipv6() -> bool:
    """Containers often have a kernel that speaks it and no address."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return socket.has_dualstack_ipv6()
    return False


def test_it_listens_on_every_address_when_none_is_given(operator):
    with HealthServer(operator.app, 0) as server:
        for host in ("127.0.0.1", *(["[::1]"] if loopback_has_ipv6() else [])):
            assert httpx.get(f"http://{host}:{server.port}/readyz", trust_env=False).status_code == 200


def test_a_port_that_is_taken_is_named_at_the_start_with_the_remedy(operator):
    with (
        HealthServer(operator.app, 0, "127.0.0.1") as server,
        pytest.raises(Unavailable, match=f"port {server.port} .* in use; .* choose another with --health-port"),
        HealthServer(operator.app, server.port, "127.0.0.1"),
    ):
        pass


# --- logs


def logged(message: str, *, error: BaseException | None = None, **fields: object) -> dict[str, object]:
    exc_info = (type(error), error, error.__traceback__) if error else None
    record = logging.getLogger("operator").makeRecord(
        "operator", logging.WARNING, "f", 1, message, (), exc_info, extra=fields
    )
    line = JsonFormatter().format(record)
    assert "\n" not in line
    event: dict[str, object] = json.loads(line)
    return event


def test_a_log_line_has_time_level_logger_message_and_fields():
    event = logged("reconciled", event="reconcile.done", seconds=0.5)

    assert str(event.pop("time")).endswith("+00:00")
    assert event == {
        "level": "warning",
        "logger": "operator",
        "message": "reconciled",
        "event": "reconcile.done",
        "seconds": 0.5,
    }


def test_what_kopf_hangs_on_its_records_becomes_the_object_and_nothing_else():
    reference = {"apiVersion": "v1", "kind": "Secret", "name": "admin", "uid": "u", "namespace": "team-a"}

    event = logged("handled", k8s_ref=reference, k8s_skip=True, settings=object())

    assert event["object"] == "Secret/team-a/admin"
    assert set(event) == {"time", "level", "logger", "message", "object"}


@pytest.mark.parametrize(
    ("message", "secret"),
    [
        ("cannot connect to postgresql://admin:hunter2@db:5432/soma", "hunter2"),
        ("cannot connect to redis://:p%40ss@cache:6379", "p%40ss"),
        ("cannot connect to http://u:a@b@db", "a@b"),
        (f"header Authorization: Bearer {TOKEN}", TOKEN),
        ("header authorization: basic YWRtaW46aHVudGVyMg==", "YWRtaW46aHVudGVyMg=="),
    ],
)
def test_what_looks_like_a_secret_is_hidden_wherever_it_stands(message, secret):
    error = RuntimeError(message)

    shown = json.dumps(logged(message, error=error, detail=message))

    assert secret not in shown
    assert shown.count("***") >= 3


@pytest.mark.parametrize(
    "message", ["http://[::1]:8080/readyz", "basic configuration is read", "a@b wrote to c@d at 12:30", "x://y"]
)
def test_what_is_no_secret_is_shown(message):
    assert logged(message)["message"] == message


def test_an_error_keeps_its_trace_on_the_same_line():
    with pytest.raises(ZeroDivisionError) as caught:
        1 / 0  # noqa: B018 - for its error
    assert "ZeroDivisionError" in str(logged("failed", error=caught.value)["exception"])


@pytest.fixture
def root_logger():
    """Put the root logger back as it was."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("uvicorn", "httpx", "kubernetes", "aiohttp"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.mark.usefixtures("root_logger")
def test_kopf_asyncio_and_the_operator_log_to_the_same_place(capsys):
    configure_logging("debug")

    for name in ("kopf.activities", "asyncio", "memory_operator.controller.elector"):
        logging.getLogger(name).info("here")
    logging.getLogger("httpx").info("GET https://kubernetes/api/v1/secrets")
    logging.getLogger("kubernetes.aio.client.rest").debug("response body: a Secret")

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [each["logger"] for each in lines if each["message"] == "here"] == [
        "kopf.activities",
        "asyncio",
        "memory_operator.controller.elector",
    ]
    assert not [each for each in lines if each["logger"].startswith(("httpx", "kubernetes"))]
