"""A configuration is valid and frozen, or one sentence says which field is not."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bascule_server.config import ConfigError, ServerConfig, read_config


def complaint(toml: str, folder: Path) -> str:
    path = folder / "server.toml"
    path.write_text(toml)
    with pytest.raises(ConfigError) as caught:
        read_config(path, {})
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}: ")
    assert "\n" not in sentence
    return sentence.removeprefix(f"{path}: ")


def test_without_a_file_the_server_listens_to_this_machine_alone() -> None:
    assert read_config(None, {}).listen == "127.0.0.1:50051"


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text('listen = "127.0.0.1:1"\nlargest_batch = 7\n')
    config = read_config(path, {"listen": "[::1]:2"})
    assert (config.listen, config.largest_batch) == ("[::1]:2", 7)


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        ("largest_bach = 5", "largest_bach: no such field; docs/server.md and docs/operations.md list all of them"),
        ("largest_batch = 0", "largest_batch: got 0; input should be greater than or equal to 1"),
        ('largest_batch = "5"', "largest_batch: got '5'; input should be a valid integer"),
        ("grace_seconds = inf", "grace_seconds: got inf; input should be a finite number"),
        ("drain_seconds = -1", "drain_seconds: got -1; input should be greater than or equal to 0"),
        ("reflection = 1", "reflection: got 1; input should be a valid boolean"),
        ('listen = "50051"', "listen: got '50051'; expected an address and a port"),
        ('listen = "127.0.0.1:99999"', "listen: got '127.0.0.1:99999'; expected an address and a port"),
        ('listen = "0.0.0.0:1"', "listen: got 0.0.0.0:1, which other machines can reach without encryption"),
        ('log_level = "loud"', "log_level: got 'loud'; input should be 'debug', 'info', 'warning' or 'error'"),
        ("max_timeout_seconds = 1", "default_timeout_seconds: got 5.0; expected at most max_timeout_seconds"),
        ("listen = ", "not TOML: Invalid value"),
    ],
)
def test_one_sentence_names_the_field_and_the_value(toml: str, sentence: str, tmp_path: Path) -> None:
    assert complaint(toml, tmp_path).startswith(sentence)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read: "):
        read_config(tmp_path / "absent.toml", {})


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.9.9.9:5", "[::1]:65535", "localhost:80"])
def test_loopback_needs_no_permission(listen: str) -> None:
    assert ServerConfig(listen=listen).listen == listen


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "192.168.1.2:1", "example.org:1"])
def test_the_network_needs_permission(listen: str) -> None:
    with pytest.raises(ValidationError, match="without encryption"):
        ServerConfig(listen=listen)
    assert ServerConfig(listen=listen, allow_insecure=True).listen == listen


@given(st.text(max_size=30))
def test_no_text_opens_the_server_to_the_network_by_accident(listen: str) -> None:
    try:
        config = ServerConfig(listen=listen)
    except ValidationError:
        return
    assert config.listen.startswith(("127.", "[::1]", "[0", "[:", "localhost")) or "localhost" in listen.lower()


def test_a_configuration_never_changes() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ServerConfig().largest_batch = 5  # type: ignore[misc]
