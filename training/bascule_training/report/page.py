"""Puts a report together into the page of ``report.html.jinja``.

Every text of the user's goes through the templates, which escape it. The page forbids itself to load anything.
"""

from datetime import UTC
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bascule_training.report.contents import Items, ReportContents
from bascule_training.report.figures import (
    activity_figure,
    all_metrics,
    calibration_figure,
    coloured,
    coverage_figure,
    headline_figure,
    knowledge_table,
    learning_figure,
    metrics_table,
    popularity_figure,
    recall_figure,
)
from bascule_training.report.item_map import MAX_ITEMS, item_map
from bascule_training.report.words import GLOSSARY, evaluation_words, facts, verdict

FOLDER = Path(__file__).parent


def write_report(path: Path, contents: ReportContents) -> None:
    """Writes the report, a few hundred kilobytes of HTML, replacing what is there.

    Raises:
        OSError: the file cannot be written.
    """
    path.write_text(render(contents), encoding="utf-8")


def render(contents: ReportContents) -> str:
    """The page, as HTML."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    models = coloured(contents.evaluations)
    recall = recall_figure(models)
    figures: dict[str, Any] = {
        "ndcg": headline_figure(models),
        "table": metrics_table(models),
        "all_metrics": all_metrics(models),
        "learning": learning_figure(contents.curves),
        "recall": recall,
        "coverage": coverage_figure(models),
        "activity": activity_figure(models),
        "popularity": popularity_figure(models),
        "knowledge": knowledge_table(models),
        "calibration": calibration_figure(contents.scored),
        "map": map_figure(contents.items),
    }
    sections = [
        ("quality", "Quality", True),
        ("learning", "Learning", figures["learning"]),
        ("lists", "Lists", True),
        ("groups", "Groups", figures["activity"] or figures["popularity"] or figures["knowledge"]),
        ("scores", "Scores", figures["calibration"]),
        ("map", "Map", figures["map"]),
        ("examples", "Examples", contents.examples),
        ("data", "Data", True),
        ("configuration", "Configuration", True),
    ]
    return environment.get_template("report.html.jinja").render(
        **figures,
        contents=contents,
        created=f"{contents.created.astimezone(UTC):%d %B %Y, %H:%M} UTC".lstrip("0"),
        interaction_count=sum(contents.data.interaction_counts.values()),
        verdict=verdict(contents.evaluations),
        evaluation_words=evaluation_words(contents.evaluations[0]),
        glossary=GLOSSARY,
        legend=list(reversed(recall.lines)),
        sections=[(anchor, title) for anchor, title, is_there in sections if is_there],
        facts=facts(contents.data),
        style=Markup((FOLDER / "report.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
        script=Markup((FOLDER / "report.js").read_text(encoding="utf-8")),  # noqa: S704 - our own file
    )


def map_figure(items: Items) -> dict[str, Any] | None:
    """The map, and how to read it; None where there are too few items."""
    if (placed := item_map(items)) is None:
        return None
    shown = "All items" if len(items.names) <= MAX_ITEMS else f"The {MAX_ITEMS:,} most popular items"
    how = (
        f"{shown}, larger where more people had them, with the vectors of {items.vectors.shape[1]} numbers flattened to"
        " two (t-SNE): neighbourhoods mean something, distances across the map do not. Point at an item for its name"
        " and for its nearest in the model's own space."
    )
    if placed.groups:
        how += f" Colours are {items.attribute}; an item with several has that of its rarest."
    return {
        "data": placed,
        "how": how,
        "attribute": items.attribute,
        "has_rest": len(placed.groups) in placed.group,
    }
