"""What files hold is taken when it can be used and has settled, and kept as it was otherwise."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bascule_server.config import ConfigError
from bascule_server.rotation import MAX_FILE_BYTES, Rotated


def number(content: bytes) -> int:
    if content == b"broken":
        raise RuntimeError("a secret")
    try:
        return int(content)
    except ValueError:
        raise ConfigError("number: no number") from None


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "number"
    path.write_text("1")
    return path


def looked(rotated: Rotated[int], times: int = 1) -> list[str]:
    outcomes: list[str] = []
    for _ in range(times):
        rotated.look(lambda _, outcome: outcomes.append(outcome))
    return outcomes


def test_a_change_is_taken_when_it_is_the_same_at_two_looks(file: Path) -> None:
    rotated = Rotated("number", [file], number)
    file.write_text("2")
    assert (looked(rotated), rotated.value) == ([], 1)
    file.write_text("23")
    assert (looked(rotated), rotated.value) == ([], 1)
    assert (looked(rotated), rotated.value) == (["taken"], 23)
    assert looked(rotated, times=3) == []


@pytest.mark.parametrize("bad", [b"x", b"broken", b"1" * (MAX_FILE_BYTES + 1), None])
def test_what_cannot_be_used_is_refused_once_and_the_last_good_value_kept(file: Path, bad: bytes | None) -> None:
    rotated = Rotated("number", [file], number)
    with capture_logs() as lines:
        file.unlink() if bad is None else file.write_bytes(bad)
        assert (looked(rotated, times=5), rotated.value) == (["refused"], 1)
    assert [line["log_level"] for line in lines if line["event"] == "file refused"] == ["warning"]
    assert "secret" not in str(lines)
    file.write_text("1")
    assert (looked(rotated, times=2), rotated.value) == (["taken"], 1)


def test_at_the_start_what_cannot_be_used_stops_it(file: Path) -> None:
    file.write_text("x")
    with pytest.raises(ConfigError, match="no number"):
        Rotated("number", [file], number)
    with pytest.raises(ConfigError, match="absent, which cannot be read"):
        Rotated("number", [file.with_name("absent")], number)
