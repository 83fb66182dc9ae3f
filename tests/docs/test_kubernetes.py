"""The hand-written pages about Kubernetes name only what there is, and their figures are those of the code."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from memory_contracts.api.base import API_GROUP
from memory_contracts.api.lifecycle import Deletion
from memory_contracts.conditions import ClusterConditionType, ConditionType, Reason
from memory_contracts.crd import RESOURCES, object_schema
from memory_contracts.settings import API_PORT, RuntimeSettings
from memory_operator import cli, deletion
from memory_operator.controller import metrics
from memory_operator.controller.correlator import Correlator
from memory_operator.controller.lease import LeaseTimes
from memory_operator.kube import kinds, secrets
from memory_operator.kube.resources import FINALIZER
from memory_operator.providers.postgres.claims import TenantClaim, outcome
from memory_operator.providers.postgres.ledger_schema import SCHEMA
from memory_operator.providers.postgres.plan import OLDEST_VERSION as OLDEST_POSTGRES
from memory_operator.providers.postgres.tenant import CONNECTIONS_BESIDE_POOL
from memory_operator.providers.qdrant.client import LOOKED_INTO
from memory_operator.providers.qdrant.plan import OLDEST_VERSION as OLDEST_QDRANT
from memory_operator.providers.redis.acl import OLDEST_VERSION as OLDEST_REDIS
from memory_operator.providers.shapes import Blocked
from memory_operator.shell import echo, namespace_pass, serve, sweep, watching, workers
from memory_operator.specs import binding, labels, network_policy

ROOT = Path(__file__).parents[2]
PAGES = {
    path: (ROOT / path).read_text("utf-8")
    for path in (
        *("README.md", "docs/architecture.md", "docs/kubernetes.md", "docs/deletion.md", "docs/conditions.md"),
        *(each.relative_to(ROOT).as_posix() for each in sorted((ROOT / "docs/adr").glob("*.md"))),
    )
}
SOURCES = {path: path.read_text("utf-8") for path in sorted((ROOT / "operator").rglob("*.py"))}


def fields(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    for name, each in schema.get("properties", {}).items():
        inner = each.get("items", each)
        yield f"{path}{name}"
        yield from fields(inner, f"{path}{name}.")


def values(schema: dict[str, Any]) -> Iterator[str]:
    yield from (each for each in schema.get("enum", ()) if isinstance(each, str))
    for each in (*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else ())):
        yield from values(each)


SCHEMAS = [object_schema(each) for each in RESOURCES]
FIELDS = {field for schema in SCHEMAS for field in fields(schema)}
# Below spec and status, too: a page that speaks of one field need not repeat where it is.
TAILS = {field.split(".", start)[-1] for field in FIELDS for start in range(field.count(".") + 1)}
WORDS = (
    {*Reason, *ConditionType, *ClusterConditionType}
    | {each for schema in SCHEMAS for each in values(schema)}
    | {each.kind for each in vars(kinds).values() if isinstance(each, kinds.Kind)}
)


def inline(page: str) -> list[str]:
    """Everything between single backticks, outside of blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("page", PAGES)
def test_a_field_that_is_named_exists(page: str) -> None:
    named = {each for code in inline(PAGES[page]) for each in re.findall(r"\b(?:spec|status)(?:\.\w+)+", code)}
    assert named - FIELDS == set()
    dotted = {code.partition(":")[0] for code in inline(PAGES[page]) if re.fullmatch(r"[a-z]\w*\.\w+(: \S+)?", code)}
    begun = {field.partition(".")[0] for field in TAILS if "." in field} - {"metadata", "spec", "status"}
    assert {each for each in dotted if each.partition(".")[0] in begun and not each.endswith(".py")} - TAILS == set()


@pytest.mark.parametrize("page", ["docs/kubernetes.md", "docs/deletion.md", "docs/conditions.md"])
def test_a_word_of_the_vocabulary_exists(page: str) -> None:
    camel = {code for code in inline(PAGES[page]) if re.fullmatch(r"([A-Z][a-z]+){2,}|(TLS|API)[A-Z][a-z]+", code)}
    assert camel - WORDS == set()


@pytest.mark.parametrize("page", PAGES)
def test_a_file_that_is_named_exists(page: str) -> None:
    folders = "crds|manifests|examples|docs|operator|runtime|tests"
    named = {code for code in inline(PAGES[page]) if re.fullmatch(rf"({folders})/[\w./-]*", code)}
    assert {each for each in named if not (ROOT / each).exists()} == set()


def test_the_picture_names_rooms_that_exist() -> None:
    picture = re.search(r"^```\n(.*?)^```", PAGES["docs/architecture.md"], re.DOTALL | re.MULTILINE)
    assert picture
    rooms = [ROOT / "operator/memory_operator", ROOT / "runtime/memory_runtime"]
    named = set(re.findall(r"\b[a-z]+(?:\.py\b|/)(?= )", picture[1]))
    assert named > {"reconcile.py", "deletion.py", "kube/", "shell/", "providers/", "adapters/", "ports.py"}
    assert {each for each in named if not any((room / each).exists() for room in rooms)} == set()


def test_there_is_one_picture() -> None:
    assert sum(page.count("┌─") > 1 for page in PAGES.values()) == 1


def test_the_table_of_metrics_is_that_of_the_module() -> None:
    rows = re.findall(r"^\| `(memory_operator_\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", PAGES["docs/kubernetes.md"], re.M)
    assert rows == [row for row, counted in _metrics() if counted]


def _metrics() -> Iterator[tuple[tuple[str, str, str, str], bool]]:
    """Yield the row of each metric, and whether anything in the operator counts it."""
    elsewhere = "\n".join(text for path, text in SOURCES.items() if path.name != "metrics.py")
    text = inspect.getsource(metrics)
    for name, each in vars(metrics).items():
        if not hasattr(each, "_labelnames") or isinstance(each, type):
            continue
        full = each._name + ("_total" if each._type == "counter" else "")
        shown = ", ".join(f"`{label}`" for label in each._labelnames) or "–"
        users = re.findall(rf"^(?:def|class) (\w+)(?:(?!^\S).)*\b{name}\b", text, re.DOTALL | re.MULTILINE)
        yield (
            (full, each._type, shown, each._documentation),
            any(re.search(rf"\b{user}\b", elsewhere) for user in users),
        )


def test_deletion_has_a_row_for_each_field_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| ", PAGES["docs/deletion.md"], re.M)
    defaults = Deletion().model_dump(mode="json", by_alias=True)
    assert dict(rows) == {name: str(value).lower() if value is False else value for name, value in defaults.items()}


def test_the_order_of_removal_is_the_one_of_the_page() -> None:
    order = re.search(r"grace period, (.*?), claim", PAGES["docs/deletion.md"].replace("\n", " "))
    backends = {"Redis": "CacheReady", "Kafka": "TopicReady", "Qdrant": "CollectionReady", "Postgres": "SchemaReady"}
    assert order
    assert [backends[each] for each in order[1].split(", ")] == list(deletion.REMOVAL_ORDER)


def test_the_statement_that_hands_data_over_is_the_one_that_the_operator_gives() -> None:
    told = re.search(r"^tenant (\S+) is held by the object with uid (\S+) of .*", PAGES["docs/deletion.md"], re.M)
    assert told
    former, here = re.findall(r"(?:cluster|identity =) '?([0-9a-f-]{36})", told[0])
    since = datetime.strptime(re.findall(r"since (\S+ [\d:]+);", told[0])[0], "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    refused = outcome(TenantClaim(told[1], told[2], former, frozenset(), since), "another-uid", here)
    assert isinstance(refused, Blocked)
    assert (refused.message, refused.reason) == (told[0], Reason.CLAIMED_BY_ANOTHER)


def test_the_table_of_states_has_them_all() -> None:
    rows = re.findall(r"^\| `([A-Z]\w+)` \| [a-z]", PAGES["docs/kubernetes.md"], re.M)
    spec = next(schema for schema in SCHEMAS if "state" in schema["properties"]["spec"]["properties"])
    assert sorted(rows) == sorted(spec["properties"]["spec"]["properties"]["state"]["enum"])


def test_options_of_the_command_exist() -> None:
    help_of = {name: CliRunner().invoke(cli.main, [name, "--help"]).output for name in ("run", "plan")}
    page = PAGES["docs/kubernetes.md"]
    for name, option in re.findall(r"memory-operator (run|plan) (--?[a-z-]+)", page):
        assert option in help_of[name]
    assert "--log-level" in page
    assert "--log-level" in help_of["run"]


def test_the_binding_holds_what_the_page_says() -> None:
    keys = re.search(r"in the form of .*? \((`.*?)\)", PAGES["docs/kubernetes.md"].replace("\n", " "))
    assert keys
    source = inspect.getsource(binding.build_binding)
    assert re.findall(r"`(\w+)`", keys[1]) == re.findall(r'^\s+"(\w+)":', source, re.M)


def test_answers_of_the_probes_are_those_of_the_operator() -> None:
    for sentence in ("leading", "standing by: another replica leads"):
        assert f"`{sentence}`" in PAGES["docs/kubernetes.md"]
        assert f'detail="{sentence}"' in inspect.getsource(serve)


def _deployment() -> dict[str, Any]:
    documents = yaml.safe_load_all((ROOT / "manifests/operator.yaml").read_text("utf-8"))
    found: dict[str, Any] = next(each for each in documents if each["kind"] == "Deployment")
    return found


KUBERNETES, DELETION = "docs/kubernetes.md", "docs/deletion.md"
ADR_SECRETS, ADR_ELECTOR, ADR_KOPF = (
    next(path for path in PAGES if path.startswith(f"docs/adr/{number}")) for number in ("0009", "0011", "0007")
)
VERSION = "{0[0]}.{0[1]}".format
FIGURES = [
    (KUBERNETES, "Postgres {} or newer", OLDEST_POSTGRES // 10000),
    (KUBERNETES, "Qdrant {}, Redis", VERSION(OLDEST_QDRANT)),
    (KUBERNETES, "Redis {} or Valkey", VERSION(OLDEST_REDIS)),
    (KUBERNETES, "may open {} connections", RuntimeSettings().postgres_pool_size + CONNECTIONS_BESIDE_POOL),
    (KUBERNETES, "port {}. It speaks HTTP", API_PORT),
    (KUBERNETES, "at most {} in a row", inspect.signature(Correlator).parameters["burst"].default),
    (KUBERNETES, "looks into {} collections", LOOKED_INTO),
    (KUBERNETES, "renew its Lease for {:g} s ends", LeaseTimes().valid_for),
    (KUBERNETES, "and {} s after the last sign of life", LeaseTimes().lease_duration),
    (KUBERNETES, "at most {} of the operator's", workers.WORKERS_PER_CLUSTER),
    (KUBERNETES, "the operator's {} workers", workers.WORKERS),
    (KUBERNETES, "stood still for {:g} s", serve.LOOP_SECONDS),
    (KUBERNETES, "stood still for {:g} s", watching.LOOP_SECONDS),
    (KUBERNETES, "within {:g} s what the operator itself wrote", echo.ECHO_SECONDS),
    (KUBERNETES, "at {}, on port 53", network_policy.NODE_LOCAL_DNS.partition("/")[0]),
    (KUBERNETES, "the label `{}`", labels.WATCH_LABEL),
    (KUBERNETES, "the Lease `{}`", serve.LEASE),
    (KUBERNETES, "its schema `{}`", SCHEMA),
    (KUBERNETES, "On port {} of each operator pod", cli.run.params[1].default),
    (DELETION, "tried again every {:g} s", deletion.RETRY_SECONDS),
    (DELETION, "the finalizer `{}`", FINALIZER),
    (DELETION, "schema `{}`", SCHEMA),
    (ADR_SECRETS, "kept for {:g} s", secrets.FRESH_SECONDS),
    (ADR_SECRETS, "The label `{}`", f"{API_GROUP}/watch"),
    (ADR_ELECTOR, "others wait {} s after", LeaseTimes().lease_duration),
    (ADR_ELECTOR, "renews every {:g} s", LeaseTimes().retry_period),
]


@pytest.mark.parametrize(("page", "sentence", "value"), FIGURES, ids=[each[1] for each in FIGURES])
def test_a_figure_is_that_of_the_code(page: str, sentence: str, value: object) -> None:
    assert sentence.format(value) in " ".join(PAGES[page].split())


def test_times_in_words_are_those_of_the_code() -> None:
    assert "A listing every ten minutes" in " ".join(PAGES[ADR_KOPF].split())
    assert sweep.INTERVAL_SECONDS == 600
    assert "A change is noticed within a minute" in " ".join(PAGES[KUBERNETES].split())
    assert namespace_pass.UNWATCHED_SECONDS + secrets.FRESH_SECONDS <= 60


def test_the_manifests_run_as_many_replicas_as_the_page_says() -> None:
    assert "`manifests/operator.yaml` runs two." in PAGES[KUBERNETES]
    assert _deployment()["spec"]["replicas"] == 2


def test_what_the_api_does_not_use_yet_is_said_as_long_as_it_is_so() -> None:
    """The day the API is told of a second backend, the pages have to say something else."""
    variables = " ".join(RuntimeSettings.model_fields)
    assert not re.search("kafka|qdrant|redis", variables)
    for page in ("README.md", KUBERNETES):
        assert re.search(r"this version (does not use yet|uses nothing yet)", " ".join(PAGES[page].split())), page


def test_records_of_decisions_are_numbered_one_after_the_other() -> None:
    names = sorted(path for path in PAGES if path.startswith("docs/adr/"))
    assert [Path(each).name[:4] for each in names] == [f"{number:04}" for number in range(1, len(names) + 1)]
    for each in names:
        assert PAGES[each].startswith(f"# {Path(each).name[:4]} "), each
        assert re.search(r"\*\*Why (not|is|at|in)\b", PAGES[each]), each
