"""MovieLens 100K: 100,000 ratings of 1,682 films by 943 people, the smallest real data worth training on.

F. M. Harper and J. A. Konstan: The MovieLens Datasets: History and Context, ACM TiiS 5(4), 2015.

Its terms forbid to redistribute it without permission. It is therefore no part of Bascule: whoever wants it fetches it,
and must not pass on what is written here. It comes out of a wheel that carries it as an example; the wheel is opened
as an archive, three files are read and compared with known digests, and nothing of it is installed or run.

Where the data cannot be fetched, or is not what it must be, a ``DownloadError`` says so.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

TERMS = (
    "MovieLens 100K is by GroupLens Research (https://grouplens.org/datasets/movielens/100k/)."
    " Its terms forbid to redistribute it without permission: do not pass on these files."
)

_PACKAGE = "recbole==1.2.1"
_WHEEL = "recbole-1.2.1-py3-none-any.whl"
_MAX_WHEEL_BYTES = 16 * 1024 * 1024
_MAX_MEMBER_BYTES = 4 * 1024 * 1024
_DOWNLOAD_SECONDS = 120
_FOLDER = "recbole/dataset_example/ml-100k"
_SHA256 = {
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
}


class DownloadError(Exception):
    """MovieLens 100K cannot be fetched, or what came is not it."""


def download(folder: Path) -> None:
    """Fetches MovieLens 100K and writes it to ``folder``, which is made where it is missing.

    ``interactions.parquet``: ``user_id, item_id: String, rating: Int64`` (1 to 5), ``time: Int64`` (unix seconds).
    ``users.parquet``: ``user_id: String, age: Int64, gender: String, occupation: String``.
    ``items.parquet``: ``item_id: String, title: String, year: Int64`` (null where unknown), ``genres: List(String)``.

    Raises:
        DownloadError: no package index answers, or what came is not the data with the known digests.
        OSError: the folder cannot be made or written to.
    """
    with tempfile.TemporaryDirectory(prefix="bascule-") as scratch:
        files = read_wheel(fetch_wheel(Path(scratch)))
    folder.mkdir(parents=True, exist_ok=True)
    interactions(files["ml-100k.inter"]).write_parquet(folder / "interactions.parquet")
    users(files["ml-100k.user"]).write_parquet(folder / "users.parquet")
    items(files["ml-100k.item"]).write_parquet(folder / "items.parquet")


def fetch_wheel(folder: Path) -> Path:
    """Lets pip put the wheel that carries the data into ``folder``; pip asks the package index that it is set up for.

    Raises:
        DownloadError: pip could not.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    options = ["--no-deps", "--only-binary", ":all:", "--dest", str(folder), _PACKAGE]
    try:
        done = subprocess.run(  # noqa: S603 - every argument but the folder is a constant
            [*command, *options], capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise DownloadError(f"pip got no {_PACKAGE} within {_DOWNLOAD_SECONDS} seconds") from None
    wheel = folder / _WHEEL
    if done.returncode or not wheel.is_file():
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        reason = errors[-1].removeprefix("ERROR: ") if errors else f"it ended with status {done.returncode}"
        raise DownloadError(f"pip could not download {_PACKAGE}, which carries MovieLens 100K: {reason}")
    return wheel


def read_wheel(wheel: Path) -> dict[str, bytes]:
    """The three files of the data by name, read from the archive without unpacking it and compared with their digests.

    Raises:
        DownloadError: it is no archive, is too large, or has not exactly the known files.
    """
    if wheel.stat().st_size > _MAX_WHEEL_BYTES:
        raise DownloadError(f"{wheel.name} has {wheel.stat().st_size:,} bytes; expected at most {_MAX_WHEEL_BYTES:,}")
    try:
        with zipfile.ZipFile(wheel) as archive:
            files = {name: _read_member(archive, f"{_FOLDER}/{name}") for name in _SHA256}
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, OSError) as error:
        raise DownloadError(f"{wheel.name} cannot be read: {error}") from error
    for name, sha256 in _SHA256.items():
        if (got := hashlib.sha256(files[name]).hexdigest()) != sha256:
            raise DownloadError(f"{name} in {wheel.name} has the SHA-256 {got}; expected {sha256}")
    return files


def interactions(text: bytes) -> pl.DataFrame:
    """The ratings, in the order of their times; those of one second as they stand in the file."""
    table = _table(text, ("user_id:token", "item_id:token", "rating:float", "timestamp:float"))
    return _convert(
        table,
        user_id="user_id:token",
        item_id="item_id:token",
        rating=pl.col("rating:float").cast(pl.Int64),
        time=pl.col("timestamp:float").cast(pl.Int64),
    ).sort("time", maintain_order=True)


def users(text: bytes) -> pl.DataFrame:
    """The people; their postal codes are left out."""
    table = _table(text, ("user_id:token", "age:token", "gender:token", "occupation:token"))
    return _convert(
        table,
        user_id="user_id:token",
        age=pl.col("age:token").cast(pl.Int64),
        gender="gender:token",
        occupation="occupation:token",
    )


def items(text: bytes) -> pl.DataFrame:
    """The films. Two rows are odd: one film has no title and year, and one has its year in the title instead."""
    table = _table(text, ("item_id:token", "movie_title:token_seq", "release_year:token", "class:token_seq"))
    year_in_title = r" \((\d{4})\)$"
    title = pl.col("movie_title:token_seq")
    return _convert(
        table,
        item_id="item_id:token",
        # "unkonwn" is how the file spells it.
        title=title.str.replace(year_in_title, "").str.replace("^unkonwn$", "unknown"),
        year=pl.coalesce(
            pl.col("release_year:token").cast(pl.Int64, strict=False), title.str.extract(year_in_title).cast(pl.Int64)
        ),
        genres=pl.col("class:token_seq").fill_null("").str.split(" ").list.eval(pl.element().filter(_IS_GENRE)),
    )


_IS_GENRE = ~pl.element().is_in(["", "unknown"])


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as member:
        content = member.read(_MAX_MEMBER_BYTES + 1)
    if len(content) > _MAX_MEMBER_BYTES:
        raise DownloadError(f"{name} has more than {_MAX_MEMBER_BYTES:,} bytes")
    return content


def _table(text: bytes, columns: tuple[str, ...]) -> pl.DataFrame:
    """Every cell as it is written. Titles have quotes that quote nothing."""
    try:
        return pl.read_csv(text, separator="\t", quote_char=None, infer_schema=False).select(columns)
    except PolarsError as error:
        raise DownloadError(f"MovieLens 100K is not in the known form: {str(error).splitlines()[0]}") from error


def _convert(table: pl.DataFrame, **columns: str | pl.Expr) -> pl.DataFrame:
    try:
        return table.select(**columns)
    except PolarsError as error:
        raise DownloadError(f"MovieLens 100K is not in the known form: {str(error).splitlines()[0]}") from error
