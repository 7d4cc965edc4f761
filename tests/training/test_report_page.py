import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bascule_server.scoring.query import Query
from bascule_training.data.histories import Histories
from bascule_training.evaluation.cases import Cases
from bascule_training.evaluation.evaluated import evaluate_baseline
from bascule_training.report import ReportContents, write_report
from bascule_training.report.contents import (
    DataFacts,
    Example,
    Items,
    Next,
    Recommendation,
    ScoredItems,
)
from bascule_training.report.page import FOLDER, render

ITEM_COUNT = 120
HOSTILE = """</script><script>alert(1)</script><img src=x onerror=alert(2)> "quoted" 'so' & {{ 7 * 7 }} {% if %}"""
"""What a name may hold, since people give names."""

VOID = {"br", "circle", "input", "line", "link", "meta", "path"}
"""Elements without an end; those of SVG close themselves."""


@dataclass(frozen=True)
class Guess:
    """A baseline that scores by chance, the better the more it is told of what comes next."""

    name: str
    relevant: Histories
    knowledge: float
    settings: str = ""

    def scores(self, histories: Histories) -> NDArray[np.float32]:
        scores = np.random.default_rng(len(self.name)).random((len(histories), ITEM_COUNT))
        for user, rows in enumerate(self.relevant):
            scores[user, rows] += self.knowledge
        return scores.astype(np.float32)


def histories(lengths: NDArray[np.int64], first: int) -> Histories:
    """Users with items from ``first`` on."""
    rows = np.concatenate([np.arange(first, first + length) for length in lengths]).astype(np.int32)
    return Histories(rows, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


@pytest.fixture(scope="module")
def contents() -> ReportContents:
    random = np.random.default_rng(0)
    lengths = random.integers(1, 20, 60)
    cases = Cases(
        queries=[Query()] * 60,
        histories=histories(lengths, 0),
        relevant=histories(1 + lengths // 8, 20),
        item_ids=[str(row) for row in range(ITEM_COUNT)],
    )
    return ReportContents(
        model="films",
        version=3,
        created=datetime(2026, 11, 4, 9, 5, tzinfo=UTC),
        evaluations=[
            evaluate_baseline(Guess(name, cases.relevant, knowledge, settings), cases)
            for name, knowledge, settings in (("films", 0.9, ""), ("chance", 0, ""), ("EASE", 0.5, "penalty 30"))
        ],
        items=Items(
            names=[f"Film {row}" for row in range(ITEM_COUNT)],
            vectors=random.normal(size=(ITEM_COUNT, 8)).astype(np.float32),
            popularity=np.arange(ITEM_COUNT),
            attribute="genre",
            groups=[(("war", "opera", "noir")[row % 3],) for row in range(ITEM_COUNT)],
        ),
        data=DataFacts(
            user_count=60,
            item_count=ITEM_COUNT,
            interaction_counts={"train": 600, "validation": 60, "test": 120},
            pair_count=720,
            duplicates_dropped=17,
            first_time=874_724_710,
            last_time=893_286_638,
        ),
        config='model = "films"\nseed = 1\n',
        curves=[[(7 / epoch, 0.1 * min(epoch, 3)) for epoch in range(1, 5)]],
        examples=[
            Example(
                ["Film 7", "Film 8"],
                30,
                [Recommendation("Film 1", 0.75, is_next=False), Recommendation("Film 2", 0.5, is_next=True)],
                [Next("Film 2", 2), Next("Film 3", None)],
            )
        ],
        scored=ScoredItems(random.random(200).astype(np.float32), random.random(200) < 0.1, 2),
        libraries={"keras": "3.15.1"},
    )


@dataclass
class Page(HTMLParser):
    """A page as a browser reads it."""

    html: str
    ids: Counter[str] = field(default_factory=Counter)
    tags: Counter[str] = field(default_factory=Counter)
    links: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    data: str = ""
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags[tag] += 1
        self.attributes += values.items()
        if "id" in values:
            self.ids[values["id"]] += 1
        if tag == "a":
            self.links.append(values["href"])
        if tag not in VOID:
            self.open.append("json" if values.get("type") == "application/json" else tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() in (tag, "json")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.handle_starttag(tag, attrs)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "json":
            self.data += data
        elif self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        """What people read, with single blanks."""
        return " ".join("".join(self.texts).split())


@pytest.fixture(scope="module")
def page(contents: ReportContents) -> Page:
    return Page(render(contents))


class TestPage:
    def test_it_is_written_as_one_file(self, contents: ReportContents, tmp_path: Path) -> None:
        write_report(tmp_path / "report.html", contents)
        assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
        assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")

    def test_it_loads_nothing_from_anywhere(self, page: Page) -> None:
        assert "://" not in page.html
        assert not re.search(r"\ssrc\s*=|@import|url\(|\bimport\(|fetch\(|XMLHttpRequest|WebSocket", page.html)
        assert {value for name, value in page.attributes if name == "href" and value[:1] != "#"} == {"data:,"}

    def test_it_forbids_itself_to(self, page: Page) -> None:
        (policy,) = (value for name, value in page.attributes if name == "content" and "-src" in value)
        assert policy.startswith("default-src 'none';")

    def test_every_link_has_its_target_and_every_id_is_one(self, page: Page) -> None:
        assert {link[1:] for link in page.links} <= set(page.ids)
        assert set(page.ids.values()) == {1}

    def test_every_section_is_linked(self, page: Page) -> None:
        assert len(page.links) == page.tags["section"] == 9

    def test_every_figure_has_a_title_and_says_how_to_read_it(self, page: Page) -> None:
        assert page.tags["figure"] == page.tags["figcaption"] == 9

    def test_it_says_what_it_is_about(self, page: Page) -> None:
        assert "films version 3" in page.text
        assert "4 November 2026, 09:05 UTC · 60 users · 120 items · 780 interactions" in page.text

    def test_a_lead_goes_from_every_line_of_the_recall_to_its_name(self, page: Page) -> None:
        leads = [value for name, value in page.attributes if name == "class" and value.startswith("lead ")]
        assert sorted(leads) == ["lead baseline-1", "lead baseline-2", "lead model"]

    def test_the_best_epoch_is_named(self, page: Page) -> None:
        assert "4 epochs; the best on the validation part was epoch 3" in page.text

    def test_the_facts_of_the_data_are_there(self, page: Page) -> None:
        for fact in ("Sparsity90.00 %", "Duplicates dropped17", "First interaction20 September 1997", "215 days later"):
            assert fact in page.text

    def test_the_configuration_is_there_as_it_was_written(self, page: Page) -> None:
        assert 'model = "films"\nseed = 1' in "".join(page.texts)

    def test_examples_mark_what_came_next(self, page: Page) -> None:
        assert "Film 7\u00a0· Film 8 and 28 before" in " ".join("".join(page.texts).split(" ")).replace("\n", "")
        assert "Film 2 (place 2)" in page.text
        assert "Film 3 (beyond place 100)" in page.text
        assert "2Film 2 ✓0.500" in page.text

    def test_the_map_has_the_names(self, page: Page) -> None:
        data = json.loads(page.data)
        assert sorted(data["names"]) == sorted(f"Film {row}" for row in range(ITEM_COUNT))
        assert data["groups"] == ["noir", "opera", "war"]

    def test_what_is_drawn_has_a_colour(self, page: Page) -> None:
        css = (FOLDER / "report.css").read_text()
        used = {name for key, value in page.attributes if key == "class" for name in value.split()}
        coloured = {name for name in used if re.fullmatch(r"model|baseline-\d+|group-\w+", name)}
        assert {"model", "baseline-1", "baseline-2", "group-1"} <= coloured
        assert all(f".{name} {{ --c:" in css for name in coloured)


class TestWhatIsNotThereIsLeftOut:
    @pytest.mark.parametrize(
        ("left_out", "section"),
        [
            ({"curves": ()}, "learning"),
            ({"examples": ()}, "examples"),
            ({"scored": None}, "scores"),
            ({"items": Items(["a", "b"], np.eye(2, dtype=np.float32), np.ones(2, np.int64))}, "map"),
        ],
    )
    def test_section(self, contents: ReportContents, left_out: Mapping[str, object], section: str) -> None:
        page = Page(render(replace(contents, **left_out)))  # type: ignore[arg-type]
        assert section not in page.ids
        assert f"#{section}" not in page.links

    def test_baselines(self, contents: ReportContents) -> None:
        page = Page(render(replace(contents, evaluations=contents.evaluations[:1])))
        assert "best baseline" not in page.text

    def test_times(self, contents: ReportContents) -> None:
        data = replace(contents.data, first_time=None, last_time=None)
        assert "First interaction" not in Page(render(replace(contents, data=data))).text


class TestNamesThatPeopleGive:
    def hostile(self, contents: ReportContents) -> Page:
        items = replace(
            contents.items, names=[HOSTILE] * ITEM_COUNT, groups=[(HOSTILE,)] * ITEM_COUNT, attribute=HOSTILE
        )
        evaluations = [replace(each, name=HOSTILE, settings=HOSTILE) for each in contents.evaluations]
        example = Example([HOSTILE], 1, [Recommendation(HOSTILE, 1.0, is_next=True)], [Next(HOSTILE, 1)])
        texts = {"model": HOSTILE, "config": HOSTILE, "libraries": {HOSTILE: HOSTILE}}
        return Page(render(replace(contents, items=items, evaluations=evaluations, examples=[example], **texts)))  # type: ignore[arg-type]

    def test_none_becomes_a_part_of_the_page(self, contents: ReportContents, page: Page) -> None:
        hostile = self.hostile(contents)
        assert hostile.tags["img"] == 0
        assert hostile.tags["script"] == page.tags["script"] == 2
        assert not any(name.startswith("on") for name, _ in hostile.attributes)

    def test_all_read_as_they_were_given(self, contents: ReportContents) -> None:
        hostile = self.hostile(contents)
        assert hostile.text.count(HOSTILE) >= 10
        assert json.loads(hostile.data)["names"] == [HOSTILE] * ITEM_COUNT

    def test_a_name_of_any_letters_is_kept(self, contents: ReportContents, tmp_path: Path) -> None:
        items = replace(contents.items, names=["Amélie \u2028 東京 \x00 🎬"] * ITEM_COUNT)
        write_report(tmp_path / "report.html", replace(contents, items=items))
        page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
        assert json.loads(page.data)["names"][0] == "Amélie \u2028 東京 \x00 🎬"


def test_a_large_catalogue_makes_no_large_file(contents: ReportContents) -> None:
    count, random = 2_500, np.random.default_rng(0)
    items = Items(
        [f"a name of some length, {row}" for row in range(count)],
        random.random((count, 2), np.float32),
        np.ones(count, np.int64),
    )
    # The layout is not what is looked at here, and would take long.
    page = render(replace(contents, items=replace(items, vectors=np.ones((count, 2), np.float32))))
    assert len(page.encode()) < 400_000


def colours(css: str) -> Mapping[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", css))


def contrast(one: str, other: str) -> float:
    """The ratio of two colours' luminances, from 1 to 21 (WCAG 2.2, contrast ratio)."""

    def luminance(colour: str) -> float:
        channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_read_stands_out(scheme: str) -> None:
    light, dark = (FOLDER / "report.css").read_text().split("@media (prefers-color-scheme: dark)")
    palette = colours(light if scheme == "light" else dark)
    texts = ["ink", "soft", "model", *(f"baseline-{number}" for number in range(1, 10))]
    marks = [*(f"group-{number}" for number in range(1, 8)), "group-rest"]
    for ground in ("paper", "raised"):
        assert all(contrast(palette[name], palette[ground]) >= 4.5 for name in texts)
        assert all(contrast(palette[name], palette[ground]) >= 3 for name in marks)


def test_black_and_white_are_as_far_apart_as_can_be() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
