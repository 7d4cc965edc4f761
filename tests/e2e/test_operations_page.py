"""The page on operations is true: its limits, metrics, log events, reasons and statuses are those of the code."""

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from pages import ROOT, names_in, table, toml_value

from bascule.channel import CHANNEL_OPTIONS, SERVICE_CONFIG
from bascule_server.channel_options import channel_options
from bascule_server.config import ConfigError, ServerConfig
from bascule_server.errors import Reason
from bascule_server.identity.callers import CallerEntry, reader
from bascule_server.metrics import Metrics
from bascule_server.workers import supervisor

PAGE = ROOT / "docs" / "operations.md"
SERVER = ROOT / "docs" / "server.md"
KUBERNETES = ROOT / "deploy" / "kubernetes.yaml"
LIMIT_OF_A_FIELD = ("limit", "default", "what it bounds, and so protects", "how to choose it")
LIMIT_OF_THE_CODE = ("limit", "value", "constant", "beyond")
UNITS = {"": 1, "%": 0.01, "ms": 0.001, "s": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def test_each_field_of_the_configuration_is_on_one_page_with_its_default() -> None:
    settings = {row[0].strip("`"): row[2] for row in table(SERVER, "name", "type", "default", "meaning")}
    limits = {row[0].strip("`"): row[1] for row in table(PAGE, *LIMIT_OF_A_FIELD)}
    assert settings.keys().isdisjoint(limits)
    expected = {name: toml_value(field.get_default()) for name, field in ServerConfig.model_fields.items()}
    assert settings | limits == expected


def test_each_field_that_bounds_something_is_among_the_limits() -> None:
    limits = names_in(row[0] for row in table(PAGE, *LIMIT_OF_A_FIELD))
    bounding = re.compile(r"(max|min|largest)_.*|.*_(seconds|bytes|rows|window)")
    # It decides what is logged, and bounds nothing.
    expected = {name for name in ServerConfig.model_fields if bounding.fullmatch(name)} - {"slow_call_seconds"}
    assert limits == expected


def constants() -> Iterator[tuple[str, str, str]]:
    """The value that the page says, and the name of a constant and its file."""
    for row in table(PAGE, *LIMIT_OF_THE_CODE):
        (found,) = re.findall(r"\[`(\w+)`\]\(\.\./([\w/.]+)\)", row[2])
        yield (row[1], *found)


@pytest.mark.parametrize(("said", "name", "file"), list(constants()))
def test_each_fixed_limit_is_that_of_the_code(said: str, name: str, file: str) -> None:
    module = importlib.import_module(file.split("/", 1)[1].removesuffix(".py").replace("/", "."))
    number, _, unit = said.partition(" ")
    assert float(number.replace(",", "")) * UNITS[unit] == pytest.approx(getattr(module, name))


def test_each_bound_of_a_manifest_is_among_the_limits() -> None:
    file = "server/bascule_server/artifact/manifest_checks.py"
    bounds = {
        name for name in vars(importlib.import_module("bascule_server.artifact.manifest_checks")) if name[:4] == "MAX_"
    }
    assert {name for _, name, each in constants() if each == file} == bounds


def test_what_is_said_of_calls_that_nobody_has_taken_is_what_the_core_is_told() -> None:
    told = dict(channel_options(ServerConfig()))
    text = PAGE.read_text()
    assert f"keeps {told['grpc.server.max_pending_requests']:,} calls" in text
    assert f"beyond {told['grpc.server.max_pending_requests_hard_limit']:,}" in text
    assert told["grpc.http2.max_ping_strikes"] == 2


def test_what_is_said_of_files_of_callers_is_what_is_checked() -> None:
    entry, text = CallerEntry.model_json_schema()["properties"], " ".join(PAGE.read_text().split())
    most = {name: entry[name]["maxItems"] for name in ("keys", "subjects", "certificates", "models")}
    assert most == {"keys": 100, "subjects": 1_000, "certificates": 1_000, "models": 1_000}
    assert "at most 10,000 of them; each at most 100 keys, 1,000 subjects, certificates and models, of 256" in text
    allowed = 'methods = ["GetModel"]\nmodels = ["*"]\n'
    entries = "".join(f'[c{number}]\nkeys = ["sha256:{number:064x}"]\n{allowed}' for number in range(10_001))
    with pytest.raises(ConfigError, match="at most 10000"):
        reader(has_tokens=False, has_client_authority=False)(entries.encode())


def test_what_is_said_of_connections_and_tries_of_the_client_is_what_the_core_is_told() -> None:
    told, text = dict(CHANNEL_OPTIONS), " ".join(PAGE.read_text().split())
    silent, given_up = (told[f"grpc.keepalive_{name}_ms"] for name in ("time", "timeout"))
    first, most = (told[f"grpc.{name}_reconnect_backoff_ms"] for name in ("initial", "max"))
    numbers = [int(each) / 1_000 for each in (silent, given_up, first, most)]
    said = re.search(
        r"is asked after (\S+) s and given up (\S+) s later; a lost .* again after (\S+) s, and at most (\S+) s", text
    )
    assert said
    assert [float(each) for each in said.groups()] == numbers
    assert f"tried {SERVICE_CONFIG['methodConfig'][0]['retryPolicy']['maxAttempts']} times at most" in text


def test_the_page_has_every_metric_and_names_no_other() -> None:
    registered = {
        metric.name + ("_total" if metric.type == "counter" else "")
        for metrics in [watched_metrics()]
        for metric in metrics.registry.collect()
    }
    assert names_in(row[0] for row in table(PAGE, "metric", "what")) == registered
    named = set(re.findall(r"\b(?:bascule|grpc_server)_[a-z_]+", PAGE.read_text())) - {"bascule_server"}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in named} == registered


def watched_metrics() -> Metrics:
    """All metrics, those too that are there only with a certificate."""
    metrics = Metrics()
    metrics.watch_expiry(lambda: 0.0)
    return metrics


def test_the_page_has_every_event_of_the_log_and_no_other() -> None:
    # Of two events that a line names, both have its fields.
    listed = {event for row in table(PAGE, "event", "when", "fields") for event in re.findall(r"`([^`]+)`", row[0])}
    assert listed == set(logged_events()) | {"library"}


def logged_events() -> Iterator[str]:
    """The first argument of everything that the server logs."""
    for path in (ROOT / "server").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                of = node.func.value
                if isinstance(of, ast.Name) and of.id == "_log" and isinstance(node.args[0], ast.Constant):
                    yield str(node.args[0].value)
    # By a name of its own: at one of two levels.
    yield "call"


def test_the_events_that_the_runbook_names_are_logged() -> None:
    _, runbook = PAGE.read_text().split("## What to do when", 1)
    quoted = {" ".join(text.split()) for text in re.findall(r"`([a-zA-Z][^`_=/().]* [^`_=/()]*)`", runbook)}
    refusals = {text for row in table(PAGE, "it says", "do") for text in re.findall(r"`([^`]+)`", row[0])}
    commands = {text for text in quoted if text.startswith(("bascule", "ss "))}
    assert quoted - refusals - commands <= set(logged_events())


def test_the_reasons_on_the_page_are_those_of_the_table() -> None:
    reasons = {reason.name for reason in Reason} | {reason.code.name for reason in Reason}
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`(?!\])", PAGE.read_text()))
    assert named - {"NOT_SERVING"} <= reasons


def test_the_page_says_why_a_version_may_fail_by_every_reason() -> None:
    section = PAGE.read_text().split("### A new version is not served", 1)[1].split("###", 1)[0]
    of_versions = {"LOG_DAMAGED", "LOAD_FAILED", "NO_ROOM", "NOT_SIGNED", "SIGNATURE_WRONG", "GOLDEN_DIFFERS"}
    of_files = {reason.name for reason in Reason if reason.name.startswith(("FILE_", "MANIFEST_", "FORMAT_"))}
    assert of_versions | of_files <= set(re.findall(r"`([A-Z_]+)`", section))


def documents() -> dict[str, Any]:
    """What the example for Kubernetes declares, by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all(KUBERNETES.read_text())}


def test_the_example_for_kubernetes_holds_together() -> None:
    declared = documents()
    config = ServerConfig.model_validate(tomllib.loads(declared["ConfigMap"]["data"]["server.toml"]))
    pod = declared["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    rest = config.drain_seconds + config.grace_seconds + supervisor.PATIENCE_SECONDS
    assert pod["terminationGracePeriodSeconds"] > rest
    ready = container["readinessProbe"]
    assert config.drain_seconds >= 2 * ready["periodSeconds"] * ready["failureThreshold"]
    assert int(container["resources"]["limits"]["cpu"]) == config.workers
    ports = {port["containerPort"] for port in container["ports"]}
    assert ports == {50_051, *range(9_464, 9_464 + config.workers)}
    assert declared["Service"]["spec"]["selector"] == declared["Deployment"]["spec"]["selector"]["matchLabels"]
    assert declared["Deployment"]["spec"]["template"]["metadata"]["labels"].items() >= {"app": "bascule"}.items()
    assert f"`drain_seconds` + `grace_seconds` + {15}" in PAGE.read_text()
