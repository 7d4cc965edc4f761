"""The file of the callers is read whole or refused, and says of no key what it is."""

import hashlib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule_server.config import ConfigError
from bascule_server.identity.callers import METHODS, Callers, reader

DIGEST = hashlib.sha256(b"k1").hexdigest()
READ = reader(has_tokens=True, has_client_authority=True)


def read(toml: str) -> Callers:
    return READ(toml.encode())


def entry(name: str = "shop", **fields: Any) -> str:
    given = {"methods": ["RecommendItems"], "models": ["movies"], **fields}
    return "\n".join([f"[{name}]", *(f"{key} = {value}" for key, value in given.items())]) + "\n"


def test_a_caller_is_known_by_its_key_its_subject_or_its_certificate() -> None:
    callers = read(entry(keys=[f"sha256:{DIGEST}"], subjects=["s1"], certificates=["shop.example"]))
    for caller in (callers.with_key("k1"), callers.with_subject("s1"), callers.with_certificate(["x", "shop.example"])):
        assert caller is not None
        assert caller.name == "shop"
        assert caller.methods == {"/bascule.v1.RecommendationService/RecommendItems"}
        assert caller.models == frozenset(["movies"])
        assert caller.rows_per_second is None
    assert callers.with_key("k2") is callers.with_subject("s2") is callers.with_certificate([]) is None
    assert callers.with_key(f"sha256:{DIGEST}") is callers.with_key(DIGEST) is None, "the digest is no key"


def test_a_certificate_that_names_two_callers_names_none() -> None:
    callers = read(entry("a", certificates=["a.example"]) + entry("b", certificates=["b.example"]))
    assert callers.with_certificate(["a.example", "b.example"]) is None


def test_the_burst_is_that_of_a_second_unless_it_is_given() -> None:
    callers = read(entry(keys=[f"sha256:{DIGEST}"], rows_per_second=50.0, models=["*"]))
    caller = callers.with_key("k1")
    assert caller is not None
    assert (caller.rows_per_second, caller.burst_rows, caller.models) == (50, 50, None)


@pytest.mark.parametrize(
    ("toml", "complaint"),
    [
        ("[shop", "callers: not TOML"),
        (entry(keys=["k1"]), "callers: shop.keys.0: String should match pattern"),
        (entry(), "callers: shop: got nothing to know it by"),
        (entry(keys=[f"sha256:{DIGEST}"], methods=["*"]), "callers: shop.methods.0: Input should be 'RecommendItems'"),
        (entry(keys=[f"sha256:{DIGEST}"], models=[]), "callers: shop.models: List should have at least 1 item"),
        (entry(keys=[f"sha256:{DIGEST}"], rows_per_second=0.0), "callers: shop.rows_per_second: "),
        (entry(keys=[f"sha256:{DIGEST}"], key=1), "callers: shop.key: Extra inputs are not permitted"),
        (
            entry("a", keys=[f"sha256:{DIGEST}"]) + entry("b", keys=[f"sha256:{DIGEST}"]),
            "callers: b.keys: got one that another entry has too",
        ),
        (entry("a", subjects=["s"]) + entry("b", subjects=["s"]), "callers: b.subjects: got one that another"),
    ],
)
def test_a_file_with_an_error_is_refused_in_one_sentence(toml: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(toml)
    assert str(caught.value).startswith(complaint)
    assert "k1" not in str(caught.value), "a key that stands where its digest should is not repeated"


def test_without_an_entry_nobody_is_known() -> None:
    assert read("").with_key("k1") is None


def test_subjects_and_certificates_need_what_tells_them() -> None:
    closed = reader(has_tokens=False, has_client_authority=False)
    with pytest.raises(ConfigError, match=r"shop\.subjects: got some; expected none without key_set"):
        closed(entry(subjects=["s"]).encode())
    with pytest.raises(ConfigError, match=r"shop\.certificates: got some; expected none without client_authority"):
        closed(entry(certificates=["c"]).encode())


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_whatever_the_file_holds_it_is_read_or_refused(content: bytes) -> None:
    with suppress(ConfigError):
        READ(content)


def test_every_method_of_the_api_can_be_allowed() -> None:
    assert METHODS["UpsertItems"] == ("/bascule.v1.CatalogueService/UpsertItems",)
    assert len(METHODS) == 5 + 2 + 3 + 3 + 1
