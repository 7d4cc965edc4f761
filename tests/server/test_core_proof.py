"""The C core is proven before it serves, and grpc.aio serves where it cannot be."""

import pytest
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # it has no types
from structlog.testing import capture_logs

from bascule_server.config import ServerConfig
from bascule_server.process import with_working_transport
from bascule_server.transports import c_core, self_test
from bascule_server.transports.self_test import CoreTestError, prove_core


def test_the_installed_core_does_what_is_asked_of_it() -> None:
    prove_core()
    assert with_working_transport(ServerConfig()).transport == "core"


def test_without_the_private_module_the_public_transport_serves_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(cygrpc, "CompletionQueue")
    with capture_logs() as lines:
        assert with_working_transport(ServerConfig()).transport == "aio"
    assert [line["log_level"] for line in lines] == ["warning"]


def test_a_core_that_loses_cancellations_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_test, "TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(c_core.IncomingCall, "watch", lambda *_: None)
    with pytest.raises(CoreTestError, match="cancel"):
        prove_core()


def test_a_core_on_a_machine_too_busy_to_let_a_call_in_by_its_deadline_has_another_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(self_test, "SHORT_SECONDS", (1e-6, 0.2))
    prove_core()


def test_a_server_that_is_told_to_use_the_public_transport_does_not_try_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(cygrpc, "CompletionQueue")
    with capture_logs() as lines:
        assert with_working_transport(ServerConfig(transport="aio")).transport == "aio"
    assert not lines


def test_a_core_that_cuts_off_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_test, "TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(c_core.IncomingCall, "cut_off", lambda *_: None)
    with pytest.raises(CoreTestError, match="cut off"):
        prove_core()
