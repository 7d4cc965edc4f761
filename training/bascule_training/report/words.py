"""What a report says in words."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from markupsafe import Markup

from bascule_training.evaluation.evaluated import Evaluation, difference
from bascule_training.report.contents import DataFacts
from bascule_training.report.figures import HEADLINE, metric_name

GLOSSARY = (
    ("NDCG", "right recommendations count, and the more the higher they stand; 1 where a list begins with all of them"),
    ("recall", "the share of what a user turned to next that is in the list"),
    ("HR", "hit rate: the share of users with a right recommendation in the list"),
    ("MRR", "1 / the place of the first right recommendation, 0 where there is none"),
    ("MAP", "the share of right recommendations up to each right one, averaged over those to be found"),
    ("coverage", "the share of the catalogue that is recommended to anyone"),
    ("Gini", "how unevenly recommendations fall on the items: 0 evenly, 1 all on one"),
    ("novelty", "how little known the recommended items are: the mean of -log2 of their popularity"),
)


class Verdict(NamedTuple):
    """How the model did, in two paragraphs."""

    headline: Markup
    comparison: str


class Fact(NamedTuple):
    """A number about the data."""

    name: str
    value: str
    note: str = ""


def verdict(evaluations: Sequence[Evaluation]) -> Verdict:
    """How the model did beside the best of the baselines."""
    model, *baselines = evaluations
    headline = Markup(
        "For <strong>{} of users</strong>, something among the first ten recommendations is what they turned to next."
    ).format(_percent(model.summary["hr@10"]))
    if not baselines:
        return Verdict(headline, f"{metric_name(HEADLINE)} is {model.summary[HEADLINE]:.4f}.")
    best = max(baselines, key=lambda each: each.summary[HEADLINE])
    headline += Markup(" The best baseline, {}, manages {}.").format(best.name, _percent(best.summary["hr@10"]))
    lead = difference([model], [best], HEADLINE)
    if not lead.is_clear:
        meaning = "The interval holds zero: on these users the two cannot be told apart."
    elif lead.mean > 0:
        meaning = "The lead is larger than its error."
    else:
        meaning = "The baseline is ahead by more than the error."
    ends = f"from {lead.interval.low:+.4f} to {lead.interval.high:+.4f}"
    comparison = (
        f"{metric_name(HEADLINE)} is {model.summary[HEADLINE]:.4f} against {best.summary[HEADLINE]:.4f}, a difference"
        f" of {lead.mean:+.4f} with a 95 % interval {ends}, paired over users. {meaning}"
    )
    return Verdict(headline, comparison.replace("-0.", "\u22120."))


def evaluation_words(model: Evaluation) -> str:
    """Who was asked, and what was to be found."""
    rules = model.cases.rules
    history = "without those of their history" if rules.exclude_history else "those of their history among them"
    wanted = "items" if rules.one_case_per == "user" else "interactions, one by one,"
    words = (
        f"{model.case_count:,} users of the test part were each recommended items of the whole catalogue, {history};"
        f" {model.relevant_count:,} {wanted} were to be found."
    )
    if model.unknown_count:
        words += f" {model.unknown_count:,} of them are not in the catalogue, and so missed by every model."
    return words


def facts(data: DataFacts) -> list[Fact]:
    """The size and shape of the data."""
    total = sum(data.interaction_counts.values())
    per_user, per_item = total / data.user_count, total / data.item_count
    listed = [
        Fact("Users", f"{data.user_count:,}", f"{per_user:,.1f} interactions each on average"),
        Fact("Items", f"{data.item_count:,}", f"{per_item:,.1f} interactions each on average"),
        *(
            Fact(f"Interactions, {part}", f"{count:,}", _percent(count / total))
            for part, count in data.interaction_counts.items()
        ),
        Fact("Sparsity", f"{100 * data.sparsity:.2f}\u00a0%", "of all pairs of a user and an item have no interaction"),
        Fact("Duplicates dropped", f"{data.duplicates_dropped:,}", _repetitions(data)),
    ]
    if data.first_time is not None and data.last_time is not None:
        days = (data.last_time - data.first_time) / 86_400
        listed.append(Fact("First interaction", day(data.first_time)))
        listed.append(Fact("Last interaction", day(data.last_time), f"{days:,.0f} days later"))
    return listed


def _repetitions(data: DataFacts) -> str:
    if data.repeated_count:
        return f"{data.repeated_count:,} repeated interactions of a user with an item were kept"
    return "repeated interactions of a user with an item" if data.duplicates_dropped else "no user had an item twice"


def day(seconds: int) -> str:
    """The day of a moment in unix seconds, in UTC: ``20 September 1997``."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment.day} {moment:%B %Y}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\u00a0%"
