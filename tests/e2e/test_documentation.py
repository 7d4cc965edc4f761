"""The documentation is true: its code runs, its tables equal the code, and its links lead somewhere."""

import importlib.metadata
import inspect
import io
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, get_args

import pytest
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass
from pages import ROOT, code_blocks, names_in, table, toml_value
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bascule import Client, RankingOptions
from bascule.v1 import artifact_pb2, catalogue_service_pb2, model_service_pb2, recommendation_service_pb2
from bascule_server.artifact import file_names
from bascule_server.config import Authentication, ServerConfig
from bascule_server.errors import Reason
from bascule_server.identity.callers import CallerEntry, reader
from bascule_server.messages import decoding, field_checks, ranking_options
from bascule_server.scoring import n_grams, scorer
from bascule_training import trainer
from bascule_training.baselines import bpr, ease, item_knn, popularity, pure_svd, tuning
from bascule_training.baselines.bpr import BprSetting
from bascule_training.classic.config import ClassicConfig
from bascule_training.commands.train import KINDS
from bascule_training.config import (
    FeatureConfig,
    HistoryBag,
    HistoryTransformer,
    Section,
    TrainingConfig,
    UserFeatures,
    load_config,
)
from bascule_training.data.splits import Given, GlobalTime, LeaveOneOut, Random
from bascule_training.data.tables import InteractionColumns
from bascule_training.evaluation.metrics import CUTOFFS, METRICS
from bascule_training.evaluation.protocol import EvaluationConfig
from bascule_training.fitting import competitors

README = ROOT / "README.md"
API, ARTIFACT, SERVER, OPERATIONS, TRAINING, RECOMMENDING, CATALOGUE = (
    ROOT / "docs" / f"{name}.md"
    for name in ("api", "artifact", "server", "operations", "training", "recommending", "catalogue")
)
SECURITY = ROOT / "docs" / "security.md"
VERSIONS = ROOT / "docs" / "versions.md"
PERFORMANCE = ROOT / "docs" / "performance.md"
BENCHMARKS = ROOT / "docs" / "benchmarks.md"
TWO_TOWERS_AND_SVD = ROOT / "docs" / "two_towers_and_svd.md"
PAGES = (
    README,
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    API,
    ARTIFACT,
    SERVER,
    OPERATIONS,
    VERSIONS,
    PERFORMANCE,
    TRAINING,
    BENCHMARKS,
    TWO_TOWERS_AND_SVD,
    RECOMMENDING,
    CATALOGUE,
    SECURITY,
)
SPLITS = {config.model_fields["kind"].default: config for config in (LeaveOneOut, GlobalTime, Random, Given)}
DEFAULT_ADDRESS = "127.0.0.1:50051"


# What runs.


def test_the_code_in_the_readme_runs_against_a_real_server(server_address: str) -> None:
    (code,) = code_blocks(README, "python")
    assert DEFAULT_ADDRESS in code
    output = io.StringIO()
    with redirect_stdout(output):
        exec(compile(code.replace(DEFAULT_ADDRESS, server_address), str(README), "exec"), {})
    lines = output.getvalue().splitlines()
    assert lines[0].startswith("tiny 1 ")
    assert lines[1].startswith("popular ")
    assert lines[-2:] == ["1000 ranked", "0 failed"]


def test_the_page_on_recommending_runs_against_a_real_server(server_address: str) -> None:
    code = "\n".join(code_blocks(RECOMMENDING, "python"))
    output = io.StringIO()
    with redirect_stdout(output):
        exec(compile(code.replace(DEFAULT_ADDRESS, server_address), str(RECOMMENDING), "exec"), {})
    lines = output.getvalue().splitlines()
    assert lines[0] == "personalised history cold popular similar vector"
    assert "Nothing about the query is known" in lines[1]
    assert lines[-1] == "300 ranked"


def test_the_page_on_recommending_names_every_option() -> None:
    page = RECOMMENDING.read_text()
    for option in (
        *RankingOptions.__optional_keys__ - {"model", "version", "label"},
        *inspect.signature(Client.recommend).parameters,
    ):
        if option not in ("self", "options", "timeout", "user_id"):
            assert f"{option}=" in page or f"`{option}`" in page, option


def test_the_example_asks_a_real_server_in_every_way(server_address: str) -> None:
    command = [sys.executable, str(ROOT / "examples" / "recommend.py"), "--server", server_address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "by the path history" in done.stdout
    assert "1,000 users ranked; 1 failed, with ITEM_NOT_FOUND" in done.stdout
    assert "refused with INVALID_FIELD" in done.stdout


def test_the_example_of_tests_passes() -> None:
    example = runpy.run_path(str(ROOT / "examples" / "embed_in_tests.py"))
    tests = [value for name, value in example.items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()


def test_every_configuration_on_the_pages_and_among_the_examples_is_valid(tmp_path: Path) -> None:
    (training,) = code_blocks(TRAINING, "toml")
    server, callers = code_blocks(SERVER, "toml")
    reader(has_tokens=True, has_client_authority=False)(callers.encode())
    TrainingConfig.model_validate(tomllib.loads(training))
    ServerConfig.model_validate(tomllib.loads(server))
    ServerConfig.model_validate(tomllib.loads((ROOT / "deploy" / "container.toml").read_text()))
    for example in (*(ROOT / "examples").glob("*.toml"), *(ROOT / "training" / "protocols").glob("*.toml")):
        load_config(example)


def test_the_requests_for_grpcurl_are_messages_of_the_methods_that_they_go_to() -> None:
    calls = re.findall(r"grpcurl -plaintext (?:-d '(.*?)' )?[\\\s]*\S+ (\S+)/(\S+)", "\n".join(code_blocks(API, "sh")))
    assert len(calls) == 3
    for body, service, method in calls:
        request = GetMessageClass(methods()[f"{service}/{method}"].input_type)
        json_format.Parse(body or "{}", request())


def methods() -> Mapping[str, Any]:
    """The methods of the API by their full names, with a slash before the method's own."""
    files = (recommendation_service_pb2, model_service_pb2, catalogue_service_pb2)
    services = [service for file in files for service in file.DESCRIPTOR.services_by_name.values()]
    return {f"{service.full_name}/{method.name}": method for service in services for method in service.methods}


# What the tables say.


def test_the_api_page_names_every_method() -> None:
    listed = names_in(row[0] for row in table(API, "method", "asks", "gets"))
    assert {f"bascule.v1.{name}" for name in listed} == set(methods())


def test_the_api_page_has_every_reason_with_its_code_and_delay() -> None:
    listed = {row[0].strip("`"): row[1:3] for row in table(API, "reason", "code", "retry after", "when")}
    delays = {reason: reason.retry_delay_seconds for reason in Reason}
    expected = {
        reason.name: [f"`{reason.code.name}`", "" if delays[reason] is None else f"{delays[reason]:g} s"]
        for reason in Reason
    }
    assert listed == expected


def test_the_api_page_has_every_path() -> None:
    listed = names_in(row[0] for row in table(API, "path", "when", "score"))
    assert listed == set(recommendation_service_pb2.RankingPath.keys()) - {"RANKING_PATH_UNSPECIFIED"}


def test_the_api_page_has_the_limits_of_the_code() -> None:
    limits = {row[0]: row[1] for row in table(API, "what", "limit", "beyond")}
    assert limits["queries in a message"] == f"1 to {decoding.MAX_QUERIES:,}"
    assert limits["`item_count`"].startswith(f"{ranking_options.MAX_ITEM_COUNT:,}; 0 means")
    assert limits["`item_count`"].endswith(f" {ranking_options.DEFAULT_ITEM_COUNT}")
    (ids,) = (limit for what, limit in limits.items() if what.startswith("ids in "))
    assert ids == f"{field_checks.MAX_ITEM_IDS:,} each"
    assert limits["length of an id"] == f"{field_checks.MAX_ID_BYTES} bytes"
    assert limits["categories of one value or filter"] == str(field_checks.MAX_CATEGORIES)
    assert limits["filters"] == str(ranking_options.MAX_FILTERS)
    assert limits["attributes returned"] == str(ranking_options.MAX_RETURNED_ATTRIBUTES)
    assert limits["unknown ids listed"] == f"the first {scorer.MAX_UNKNOWN_IDS}"
    assert limits["items of the history named for an item"] == str(ranking_options.MAX_BECAUSE)
    assert limits["characters of a text that are read"] == f"{n_grams.MAX_CHARACTERS:,}"


def test_the_artifact_page_has_every_file_of_an_artifact_and_no_other(contextual_folder: Path) -> None:
    listed = names_in(row[0] for row in table(ARTIFACT, "file", "content"))
    present = {
        _as_listed(path.relative_to(contextual_folder)) for path in contextual_folder.rglob("*") if path.is_file()
    }
    # The catalogue of the small model is too small for an index, and nobody has signed it.
    assert listed == present | {file_names.INDEX, file_names.SIGNATURE}


def _as_listed(path: Path) -> str:
    if path.parts[0] == "vocabularies":
        return f"{path.parent.as_posix()}/NAME.json"
    return path.parts[0] if len(path.parts) == 1 else f"{path.parts[0]}/"


def defaults(config: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The full name of every field, sections left out, and its default as the pages have it."""
    for name, field in config.model_fields.items():
        if (section := section_of(field)) is not None:
            yield from defaults(section, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", toml_value(field.get_default(call_default_factory=True, validated_data={}))


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    # A section that may be absent is described as it is where it is there.
    kinds = [kind for kind in get_args(field.annotation) if kind is not type(None)] or [field.annotation]
    kind: object = kinds[0] if len(kinds) == 1 else None
    return (
        kind if isinstance(kind, type) and issubclass(kind, Section | InteractionColumns | EvaluationConfig) else None
    )


@pytest.mark.parametrize(("page", "config"), [(TRAINING, TrainingConfig), (TRAINING, FeatureConfig)])
def test_a_page_has_every_field_of_the_configuration_with_its_default(page: Path, config: type[BaseModel]) -> None:
    listed = {row[0].strip("`"): row[2] for row in table(page, "name", "type", "default", "meaning")}
    expected = dict(defaults(config))
    assert {name: listed.get(name) for name in expected} == expected


def test_the_training_page_has_every_field_of_a_split_with_its_default() -> None:
    listed = {tuple(row[:2] + row[3:4]) for row in table(TRAINING, "`kind`", "name", "type", "default", "meaning")}
    expected = {
        (f"`{kind}`", f"`{name}`", default)
        for kind, config in SPLITS.items()
        for name, default in defaults(config)
        if name != "kind"
    }
    assert listed == expected
    assert names_in(row[0] for row in table(TRAINING, "`kind`", "how it parts")) == set(SPLITS)


def test_no_page_has_a_field_that_there_is_not() -> None:
    listed = names_in(row[0] for row in table(TRAINING, "name", "type", "default", "meaning"))
    assert listed == set(dict([*defaults(TrainingConfig), *defaults(FeatureConfig)]))


def test_the_page_of_the_server_has_every_field_of_authentication_and_of_a_caller() -> None:
    listed = names_in(row[0] for row in table(SERVER, "in `[authentication]`", "type", "meaning"))
    assert listed == set(Authentication.model_fields)
    assert names_in(row[0] for row in table(SERVER, "of a caller", "type", "meaning")) == set(CallerEntry.model_fields)


def test_the_training_page_has_every_kind_of_feature() -> None:
    listed = names_in(row[0] for row in table(TRAINING, "kind", "column", "tensor"))
    declared = {field.name for field in artifact_pb2.Feature.DESCRIPTOR.oneofs_by_name["kind"].fields}
    assert listed == declared - {"history"}


def test_the_training_page_has_the_metrics_and_the_settings_of_the_baselines() -> None:
    text = TRAINING.read_text()
    assert all(f"`{name}`" in text for name in (*METRICS, "coverage"))
    assert "at {}, {} and {}".format(*CUTOFFS) in text
    settings = {row[0]: row[1] for row in table(TRAINING, "baseline", "settings tried", "source")}
    assert numbers(settings["recent popularity"]) == list(popularity.HALF_LIVES)
    assert numbers(settings["item-kNN"]) == list(item_knn.NEIGHBOUR_COUNTS)
    assert numbers(settings["recent item-kNN"]) == list(item_knn.RECENCIES)
    assert numbers(settings["PureSVD"]) == list(pure_svd.RANKS)
    assert numbers(settings["EASE"]) == list(ease.PENALTIES)
    tried = (value for name in BprSetting._fields for value in sorted({getattr(each, name) for each in bpr.SETTINGS}))
    assert numbers(settings["BPR"]) == list(tried)
    assert f"above {ease.MAX_ITEMS:,} items" in text
    assert f"above {tuning.MAX_FACTOR_INTERACTIONS:,}\ninteractions" in text
    assert f"at most {trainer.FULL_SOFTMAX_SCORES:,} scores" in text
    assert f"at most {competitors.MAX_IN_BATCH:,} |" in text


def test_the_training_page_has_every_field_of_a_tower_with_its_default() -> None:
    listed = {
        (row[0], row[1].strip("`")): row[3] for row in table(TRAINING, "tower", "name", "type", "default", "meaning")
    }
    shared = {"dimension": "all but `classic`", "copies": "trained ones", "beside": "trained ones"}
    expected = {
        (shared.get(name, f"`{tower.model_fields['kind'].default}`"), name): default
        for tower in (HistoryTransformer, HistoryBag, UserFeatures, ClassicConfig)
        for name, default in defaults(tower)
        if name != "kind"
    }
    assert listed == expected
    rows = table(TRAINING, "`tower.kind`", "what it reads, and how it learns")
    assert {kind for row in rows for kind in re.findall(r"`(\w+)`", row[0])} == set(KINDS)


def numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", text)]


def test_the_readme_lists_every_command() -> None:
    listed = names_in(row[0] for row in table(README, "command", "what it does"))
    commands = {point.name for point in importlib.metadata.entry_points(group="bascule.commands")}
    assert listed == {f"bascule {command}" for command in commands}


def test_the_readme_lists_every_extra_that_is_for_users() -> None:
    text = README.read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"bascule\[(\w+)\]", text)) == set(extras) - {"dev"}


# What it refers to.


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        assert place.is_relative_to(ROOT), f"{page.name} links to {target}"
        assert place.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(place), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_target_of_make_that_is_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = page.read_text()
    named = re.findall(r"^make ([a-z-]+)", text, re.MULTILINE) + re.findall(r"`make ([a-z-]+)", text)
    assert set(named) <= targets


def test_every_page_that_the_code_refers_to_exists() -> None:
    folders = ("client", "server", "training", "protos", "deploy", "examples")
    files = [
        path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".proto", ".toml"}
    ]
    named = {name for path in files for name in re.findall(r"docs/\w+\.md", path.read_text())}
    assert named
    assert all((ROOT / name).is_file() for name in named)
