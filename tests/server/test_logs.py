"""The log is JSON, a line an event, and holds nothing that a caller sent."""

import json
import logging
import os
import sys
from collections.abc import Iterator

import pytest
import structlog

from bascule_server.faults import fault
from bascule_server.logs import STANDARD_ERROR, configure_logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def test_an_event_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info")
    structlog.get_logger().info("serving", models=["m/1"])
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert (event["event"], event["level"], event["models"]) == ("serving", "info", ["m/1"])
    assert event["timestamp"].endswith("Z")


def test_less_important_lines_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("warning")
    structlog.get_logger().info("call")
    assert capsys.readouterr().err == ""


def test_a_library_is_heard_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info")
    logging.getLogger("grpc").warning("the secret of %s", "u1")
    event = json.loads(capsys.readouterr().err)
    assert (event["library"], event["level"]) == ("grpc", "warning")
    assert "secret" not in str(event)


def test_a_full_disk_costs_lines_and_no_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk:
        def write(self, *_text: str) -> None:
            raise OSError(28, "No space left on device")

        flush = write

    configure_logs("info")
    monkeypatch.setattr(sys, "stderr", FullDisk())
    structlog.get_logger().info("call")


def test_a_reader_who_has_stopped_costs_lines_and_no_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "w") as blocked:
        configure_logs("info")
        monkeypatch.setattr(sys, "stderr", blocked)
        lost = STANDARD_ERROR.lost_count
        for number in range(100):
            structlog.get_logger().info("call", number=number, text="x" * 5_000)
        lost_count = STANDARD_ERROR.lost_count - lost
        read = pipe.read1(1 << 20)
        structlog.get_logger().info("read again")
        blocked.close()
        read += pipe.read()
    lines = [line for line in read.decode().splitlines() if line.endswith("}")]
    assert lost_count > 0
    assert len(lines) == 100 - lost_count + 1
    assert json.loads(lines[-1])["event"] == "read again"


def test_a_fault_has_an_id_and_a_place_but_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info")
    with pytest.raises(ValueError, match="secret") as caught:
        raise ValueError("the secret of u1")
    error = fault(caught.value)
    line = capsys.readouterr().err
    event = json.loads(line)
    assert event["error_id"] == error.metadata["error_id"]
    assert event["exception_type"] == "ValueError"
    assert "test_logs.py" in event["frames"][0]
    assert "secret" not in line
