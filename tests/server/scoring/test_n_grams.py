"""A text is read by its words, its pairs of words and the runs of three characters of each word."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule_server.scoring.n_grams import MAX_CHARACTERS, n_grams, normalised

ANY_TEXT = st.text(st.characters(codec=None))
"""Lone surrogates too, which no message can hold but a table in memory can."""


def words(text: str) -> list[str]:
    """The words of a text: n-grams with a space at both ends and none within."""
    found = [n_gram[1:-1] for n_gram in n_grams(text) if n_gram[0] == n_gram[-1] == " " and " " not in n_gram[1:-1]]
    return list(dict.fromkeys(found))


def test_words_come_first_then_pairs_then_runs_of_three_characters() -> None:
    assert list(n_grams("Red car")) == [
        *(" red ", " car "),
        " red car ",
        *(" re", "red", "ed ", " ca", "car", "ar "),
    ]


def test_a_word_of_one_letter_is_its_own_run() -> None:
    assert list(n_grams("a b")) == [" a ", " b ", " a b ", " a ", " b "]


@pytest.mark.parametrize("text", ["", " ", "\n\t", "!?", "-_-", "★★★", "\ud800"])
def test_a_text_without_words_has_no_n_grams(text: str) -> None:
    assert list(n_grams(text)) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("T-LIGHT holder, 2nd", ["t", "light", "holder", "2nd"]),
        ("children's_toy", ["children", "s", "toy"]),
        ("STRASSE straße", ["strasse"]),
        ("AM\u00c9LIE ame\u0301lie", ["am\u00e9lie"]),
        ("\uff32\uff45\uff44 \ufb01t", ["red", "fit"]),  # letters of full width, and a ligature
        ("हिन्दी ดี", ["हिन्दी", "ดี"]),  # with vowel signs
        ("红色汽车", ["红色汽车"]),
    ],
)
def test_a_word_is_a_run_of_letters_marks_and_numbers_whatever_its_case_and_form(
    text: str, expected: list[str]
) -> None:
    assert words(text) == expected


def test_words_without_spaces_between_them_share_runs_of_characters() -> None:
    red_car, red_flag = (set(n_grams(text)) for text in ("红色汽车", "红色旗帜"))
    assert red_car & red_flag == {" 红色"}


@given(ANY_TEXT)
def test_any_text_can_be_read_and_every_n_gram_can_be_sent(text: str) -> None:
    for n_gram in n_grams(text):
        assert len(n_gram) >= 3
        assert n_gram.encode().decode() == n_gram


@given(ANY_TEXT)
def test_every_n_gram_is_a_piece_of_the_words_side_by_side(text: str) -> None:
    spaced = "".join(each if unicodedata.category(each)[0] in "LMN" else " " for each in normalised(text))
    side_by_side = f" {' '.join(spaced.split())} "
    assert all(n_gram in side_by_side for n_gram in n_grams(text))


@given(st.text(max_size=100))
def test_the_forms_of_a_text_are_read_alike(text: str) -> None:
    expected = list(n_grams(text))
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert list(n_grams(unicodedata.normalize(form, text))) == expected
    assert list(n_grams(normalised(text))) == expected


@given(st.text())
def test_what_is_normalised_is_in_normal_form(text: str) -> None:
    assert unicodedata.is_normalized("NFKC", normalised(text))


def test_a_long_text_is_read_up_to_its_limit() -> None:
    text = "ab " * MAX_CHARACTERS
    assert list(n_grams(text)) == list(n_grams(text[:MAX_CHARACTERS]))
    assert words("x" * (MAX_CHARACTERS - 2) + " yz") == ["x" * (MAX_CHARACTERS - 2), "y"]


def test_what_normalising_makes_longer_is_cut_too() -> None:
    # One code point that stands for a sentence of 18.
    assert sum(1 for _ in n_grams("\ufdfa" * MAX_CHARACTERS)) <= 2 * MAX_CHARACTERS
