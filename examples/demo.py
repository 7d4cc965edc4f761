"""The whole way in minutes: data, training, publishing, serving, and every kind of call. ``make demo`` runs it.

It needs the package with its training extra and nothing else. The data goes to ``data/``, the model to ``models/``.
"""

import itertools
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import numpy as np
import polars as pl
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bascule import Client, Query, Ranking

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "models"
CONSOLE = Console()
BASCULE = (sys.executable, "-m", "bascule")


def main() -> None:
    """Runs every step; a step that fails ends the demo with its error and a status that is not 0."""
    config = get_data()
    say("Train, evaluate and publish")
    bascule("train", str(config), "--out", str(MODELS))
    data = ROOT / "data" / ("movielens" if config.stem == "movies" else "generated")
    users = histories(data / "interactions.parquet")
    titles = dict(pl.read_parquet(data / "items.parquet").select("item_id", "title").rows())
    with server() as address, Client(address, model=config.stem, timeout=30) as client:
        say(f"The server at {address} says SERVING")
        one_user(client, users, titles)
        users_per_second = all_users(client, users)
        given_titles(client, users, titles)
        similar_titles(client, users, titles)
        (model,) = [model for model in client.models() if model.name == config.stem]
    print(f"demo: ok, {users_per_second:,.0f} users/s through the stream, NDCG@10 {model.metrics['ndcg@10']:.4f}")


def get_data() -> Path:
    """Fetches or generates the data; returns the configuration that trains on it."""
    say("Get MovieLens 100K")
    fetched = subprocess.run([*BASCULE, "data", "movielens", "--out", str(ROOT / "data" / "movielens")], check=False)
    if fetched.returncode == 0:
        return ROOT / "examples" / "movies.toml"
    CONSOLE.print("MovieLens 100K cannot be had here; the demo goes on with a generated log instead.")
    bascule("data", "generate", "--out", str(ROOT / "data" / "generated"))
    return ROOT / "examples" / "generated.toml"


def histories(interactions: Path) -> dict[str, list[str]]:
    """The items that each user had, oldest first."""
    log = pl.read_parquet(interactions).sort("time", maintain_order=True)
    grouped = log.group_by(pl.col("user_id").cast(pl.String), maintain_order=True).agg(
        pl.col("item_id").cast(pl.String)
    )
    return dict(grouped.rows())


@contextmanager
def server() -> Iterator[str]:
    """Starts the server on a free port, waits until it is ready, and stops it as an operator would."""
    say("Start the server")
    with tempfile.TemporaryDirectory() as folder:
        port_file, log = Path(folder) / "port", Path(folder) / "log"
        command = [
            "bascule",
            "serve",
            "--models",
            str(MODELS),
            "--listen",
            "127.0.0.1:0",
            "--port-file",
            str(port_file),
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            address = f"127.0.0.1:{wait_for_port(process, port_file, log)}"
            with Client(address) as client:
                client.wait_ready(30)
            yield address
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(60)
        if status != 0:
            fail(f"the server ended with status {status}:\n{log.read_text()}")
        say("The server stopped cleanly")


def wait_for_port(process: "subprocess.Popen[bytes]", port_file: Path, log: Path) -> str:
    """The port that the server took, once it has written it."""
    for _ in range(600):
        if port_file.exists():
            return port_file.read_text().strip()
        if process.poll() is not None:
            fail(f"the server did not start:\n{log.read_text()}")
        time.sleep(0.05)
    return fail(f"the server did not start within 30 s:\n{log.read_text()}")


def one_user(client: Client, users: dict[str, list[str]], titles: dict[str, str]) -> None:
    """One user's recent history beside ten recommendations, alone and inside of a batch."""
    user_id, history = next(iter(users.items()))
    say(f"User {user_id}, by a unary call")
    alone = client.recommend(user_id, history=history)
    recent = [titles[item_id] for item_id in reversed(history[-10:])]
    table = Table("recently watched", "recommended", "score")
    for old, item_id, score in itertools.zip_longest(recent, alone.item_ids, alone.scores.tolist()):
        table.add_row(old, titles[item_id], f"{score:.3f}")
    CONSOLE.print(table)

    say("The same user inside of a batch call")
    queries = [Query(each, history=items) for each, items in itertools.islice(users.items(), 100)]
    in_batch = client.recommend_many(queries)[0]
    if not isinstance(in_batch, Ranking):
        raise in_batch
    if in_batch.item_ids != alone.item_ids or not np.array_equal(in_batch.scores, alone.scores):
        fail(f"the batch answered otherwise: {in_batch}")
    CONSOLE.print("equal, ids and scores")


def all_users(client: Client, users: dict[str, list[str]]) -> float:
    """Everybody through the stream; returns the users answered a second."""
    say(f"All {len(users):,} users through the stream")
    queries = [Query(user_id, history=history) for user_id, history in users.items()]
    began = time.perf_counter()
    results = list(track(client.stream(queries), "scoring", total=len(queries), console=CONSOLE))
    seconds = time.perf_counter() - began
    failed = [result for result in results if not isinstance(result, Ranking)]
    if failed or len(results) != len(queries):
        fail(f"{len(failed)} of {len(queries)} users failed, the first with {failed[:1]}")
    rate = len(results) / seconds
    CONSOLE.print(f"{len(results):,} users in {seconds:.2f} s: {rate:,.0f} users/s", highlight=False)
    return rate


def given_titles(client: Client, users: dict[str, list[str]], titles: dict[str, str]) -> None:
    """The scores of five titles for one user."""
    user_id, history = next(iter(users.items()))
    say(f"The scores of five given titles for user {user_id}")
    item_ids = list(titles)[:5]
    table = Table("title", "score")
    for item_id, score in zip(item_ids, client.score(item_ids, user_id=user_id, history=history).tolist(), strict=True):
        table.add_row(titles[item_id], f"{score:.3f}")
    CONSOLE.print(table)


def similar_titles(client: Client, users: dict[str, list[str]], titles: dict[str, str]) -> None:
    """Ten titles similar to one that many people had."""
    counts = pl.Series([item_id for history in users.values() for item_id in history]).value_counts(sort=True)
    item_id = counts[0, 0]
    say(f"Ten titles similar to {titles[item_id]}")
    table = Table("title", "cosine")
    similar = client.recommend(item_id=item_id, attributes=["title"])
    for attributes, score in zip(similar.attributes or [], similar.scores.tolist(), strict=True):
        table.add_row(str(attributes["title"]), f"{score:.3f}")
    CONSOLE.print(table)


def bascule(*arguments: str) -> None:
    """Runs one of the commands as a person would."""
    status = subprocess.run([*BASCULE, *arguments], check=False).returncode
    if status != 0:
        fail(f"`bascule {' '.join(arguments)}` ended with status {status}")


def say(text: str) -> None:
    """Heads a step."""
    CONSOLE.print(f"\n[bold]{text}[/bold]")


def fail(reason: str) -> NoReturn:
    """Ends the demo."""
    sys.exit(f"demo: failed: {reason}")


if __name__ == "__main__":
    main()
