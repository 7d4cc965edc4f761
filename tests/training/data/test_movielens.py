import subprocess
import sys
import zipfile
from pathlib import Path

import polars as pl
import pytest

from bascule_training.data import movielens
from bascule_training.data.movielens import DownloadError
from bascule_training.data.tables import InteractionColumns, read_interactions, read_items, read_users

FOLDER = "recbole/dataset_example/ml-100k"


def wheel_of(folder: Path, **contents: bytes) -> Path:
    path = folder / "some.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for suffix, content in contents.items():
            archive.writestr(f"{FOLDER}/ml-100k.{suffix}", content)
    return path


def test_ratings_become_interactions_in_time_order() -> None:
    text = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t10\t3\t20\n2\t11\t5\t10\n1\t12\t4\t20\n"
    frame = movielens.interactions(text)
    assert frame.schema == {"user_id": pl.String, "item_id": pl.String, "rating": pl.Int64, "time": pl.Int64}
    assert frame.rows() == [("2", "11", 5, 10), ("1", "10", 3, 20), ("1", "12", 4, 20)]


def test_users_lose_their_postal_code() -> None:
    text = b"user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n1\t24\tM\ttechnician\t85711\n"
    assert movielens.users(text).to_dicts() == [{"user_id": "1", "age": 24, "gender": "M", "occupation": "technician"}]


@pytest.mark.parametrize(
    ("row", "title", "year", "genres"),
    [
        ("Heat\t1995\tAction Crime", "Heat", 1995, ["Action", "Crime"]),
        ('"Quoted" title\t1995\tSci-Fi', '"Quoted" title', 1995, ["Sci-Fi"]),
        ("Seven (Se7en)\t1995\tCrime", "Seven (Se7en)", 1995, ["Crime"]),
        ("Great Giving (1995)\tV\tAnimation Children's", "Great Giving", 1995, ["Animation", "Children's"]),
        ("unkonwn\tunkonwn\tunknown", "unknown", None, []),
        ("Good Morning\t1971\tunknown", "Good Morning", 1971, []),
        ("Nothing\t\t", "Nothing", None, []),
    ],
)
def test_films_have_title_year_and_genres_odd_rows_too(
    row: str, title: str, year: int | None, genres: list[str]
) -> None:
    text = f"item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n7\t{row}\n"
    assert movielens.items(text.encode()).rows() == [("7", title, year, genres)]


@pytest.mark.parametrize(
    "text", [b"", b"a\tb\n1\t2\n", b"user_id:token\tage:token\tgender:token\toccupation:token\n1\tx\tM\tA\n"]
)
def test_another_form_is_refused(text: bytes) -> None:
    with pytest.raises(DownloadError, match="not in the known form"):
        movielens.users(text)


def test_content_with_another_digest_is_refused(tmp_path: Path) -> None:
    wheel = wheel_of(tmp_path, inter=b"a", user=b"b", item=b"c")
    with pytest.raises(DownloadError, match=r"ml-100k\.inter in some\.whl has the SHA-256 ca978112"):
        movielens.read_wheel(wheel)


def test_a_wheel_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"ml-100k\.user"):
        movielens.read_wheel(wheel_of(tmp_path, inter=b"a"))


def test_a_member_that_swells_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="more than 4,194,304 bytes"):
        movielens.read_wheel(wheel_of(tmp_path, inter=bytes(5 * 1024 * 1024)))


def test_a_wheel_that_is_too_large_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "some.whl"
    with path.open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    with pytest.raises(DownloadError, match="expected at most 16,777,216"):
        movielens.read_wheel(path)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.whl"
    path.write_bytes(b"<html>")
    with pytest.raises(DownloadError, match="cannot be read"):
        movielens.read_wheel(path)


def test_an_index_that_does_not_answer_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(tmp_path), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    with pytest.raises(DownloadError) as caught:
        movielens.download(tmp_path / "out")
    assert "which carries MovieLens 100K" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("movielens")
    try:
        movielens.fetch_wheel(folder)
    except DownloadError as error:
        pytest.skip(f"no package index answers, so MovieLens 100K cannot be had: {error}")
    movielens.download(folder / "data")
    return folder / "data"


def test_the_download_is_movielens_100k(downloaded: Path) -> None:
    ratings = read_interactions(downloaded / "interactions.parquet", InteractionColumns(value="rating"))
    users, items = read_users(downloaded / "users.parquet"), read_items(downloaded / "items.parquet")
    assert (len(ratings), len(users), len(items)) == (100_000, 943, 1_682)
    assert ratings["value"].unique().sort().to_list() == [1, 2, 3, 4, 5]
    assert items["year"].null_count() == 1
    assert items.filter(item_id="50").row(0, named=True)["title"] == "Star Wars"


def test_the_download_installs_nothing(downloaded: Path) -> None:
    assert {path.name for path in downloaded.iterdir()} == {"interactions.parquet", "users.parquet", "items.parquet"}
    done = subprocess.run([sys.executable, "-m", "pip", "show", "recbole"], capture_output=True, check=False)
    assert done.returncode
