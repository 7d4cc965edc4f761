"""Asks a running server in every way that a backend service would.

    bascule serve --models models
    python examples/recommend.py --server 127.0.0.1:50051

It works with any model: what can be asked, it finds out first.
"""

import argparse
from collections.abc import Iterator

from bascule import BasculeError, Cap, Client, Model, Query, UnavailableError, ValueKind


def main() -> None:
    """Reads the address and asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="127.0.0.1:50051")
    with Client(parser.parse_args().server, timeout=2.0) as client:
        client.wait_ready()
        model = client.models()[0]
        popular = client.recommend(count=20, model=model.name).item_ids
        after_a_history(client, model, popular[:3])
        with_attributes(client, model, popular[:3])
        given_items(client, model, popular)
        by_vector(client, model, popular[:3])
        everybody(client, model, popular)
        wrong_requests(client, model)


def after_a_history(client: Client, model: Model, history: list[str]) -> None:
    """The items of a history stay out of its ranking, unless one asks for them."""
    ranking = client.recommend(history=history, count=5, model=model.name)
    print(f"after {', '.join(history)}, by the path {ranking.path}:")
    for item_id, score in zip(ranking.item_ids, ranking.scores, strict=True):
        print(f"  {item_id}  {score:.4f}")


def with_attributes(client: Client, model: Model, history: list[str]) -> None:
    """At most two items that share a category, with what the model knows about them."""
    kinds = (ValueKind.CATEGORY, ValueKind.CATEGORIES)
    categories = [name for name, kind in model.attributes.items() if kind in kinds]
    cap = Cap(categories[-1], max_count=2) if categories else None
    ranking = client.recommend(history=history, count=5, cap=cap, attributes=list(model.attributes), model=model.name)
    for item_id, attributes in zip(ranking.item_ids, ranking.attributes or [], strict=False):
        print(f"  {item_id}  {dict(attributes)}")


def given_items(client: Client, model: Model, item_ids: list[str]) -> None:
    """Orders a list that something else chose. An item that the catalogue does not have scores NaN."""
    scores = client.score([*item_ids, "no such item"], history=item_ids[:3], model=model.name)
    print(
        f"scores from {min(scores[:-1]):.4f} to {max(scores[:-1]):.4f}, and {scores[-1]} for an item that is not there"
    )


def by_vector(client: Client, model: Model, history: list[str]) -> None:
    """A query's vector can be kept, averaged with others, and asked with later."""
    (vector,) = client.embed([Query(history=history)], model=model.name)
    if isinstance(vector, BasculeError):
        raise vector
    print(f"a vector of {len(vector)} components finds {client.recommend(vector=vector, model=model.name).item_ids}")


def everybody(client: Client, model: Model, item_ids: list[str]) -> None:
    """Any number of queries through the stream; one that fails harms no other."""

    def queries() -> Iterator[Query]:
        for number in range(1_000):
            yield Query(f"user {number}", history=item_ids[: number % 20])
        yield Query(item_id="no such item")

    results = list(client.stream(queries(), count=10, model=model.name))
    errors = [result for result in results if isinstance(result, BasculeError)]
    print(f"{len(results) - len(errors):,} users ranked; {len(errors)} failed, with {errors[0].reason}")


def wrong_requests(client: Client, model: Model) -> None:
    """What to do about an error depends on its class."""
    try:
        client.recommend("42", features={"no such feature": 1}, model=model.name)
    except UnavailableError as error:
        print(f"nothing was computed: try again after {error.retry_after} s")
    except BasculeError as error:
        print(f"refused with {error.reason}: {error.message}")


if __name__ == "__main__":
    main()
