"""Cleaning: what is kept is untouched, what is not is counted with its places."""

from __future__ import annotations

import pytest

from sineformer.training.cleaning import CleaningReport, Limits, ParallelText, clean
from sineformer.training.rows import Row

LIMITS = Limits(max_characters=50, max_length_ratio=2.0, ratio_floor=10)


def rows(*pairs: tuple[str | None, str | None]) -> list[Row]:
    return [Row(source, target, "a.en", line) for line, (source, target) in enumerate(pairs, 1)]


GOOD = ("  A dog  runs. ", "Ein Hund läuft.")


def test_usable_pairs_are_kept_word_for_word_with_their_places() -> None:
    text, report = clean(rows(GOOD, ("Yes.", "Ja.")), LIMITS, "refuse")
    assert text == ParallelText([GOOD[0], "Yes."], [GOOD[1], "Ja."], ["a.en", "a.en"], [1, 2])
    assert text.place(1) == "a.en:2"
    assert (report.read, report.kept, report.bad) == (2, 2, 0)


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (("", "Ja."), "empty source side"),
        ((" \t\u00a0", "Ja."), "empty source side"),
        (("Yes.", ""), "empty target side"),
        (("Yes.", " \t\u00a0"), "empty target side"),
        (("half a pair \ud800", "Ja."), "not UTF-8"),
        (("Yes.", "half a pair \ud800"), "not UTF-8"),
        (("Yes.\x00", "Ja."), "control character U+0000"),
        (("Yes.", "\x7fJa."), "control character U+007F"),
        (("Yes.\rNo.", "Ja. Nein."), "control character U+000D, the line end of old Macs"),
        (("Yes. No.", "Ja.\rNein."), "control character U+000D, the line end of old Macs"),
        (("y" * 51, "j" * 40), "longer than 50 characters"),
        (("y" * 40, "j" * 51), "longer than 50 characters"),
        (("y" * 21, "j"), "one side over 2 times as long as the other"),
        (("y" * 20, "j" * 41), "one side over 2 times as long as the other"),
    ],
)
def test_each_fault_has_its_reason(pair: tuple[str, str], reason: str) -> None:
    _, report = clean(rows(GOOD, pair), LIMITS, "drop")
    assert {name: bad.places for name, bad in report.reasons.items()} == {reason: ["a.en:2"]}


@pytest.mark.parametrize(
    "pair", [("y" * 50, "j" * 50), ("y" * 20, "j" * 40), ("y", "j" * 20), ("y" * 20, "j"), ("\x0by\r\n", "\tj\r\n")]
)
def test_pairs_exactly_at_a_limit_are_usable(pair: tuple[str, str]) -> None:
    _, report = clean(rows(pair), LIMITS, "refuse")
    assert report.kept == 1


def test_a_problem_that_the_reader_met_is_the_reason() -> None:
    bad = Row(None, None, "a.jsonl", 7, "broken JSON")
    text, report = clean([*rows(GOOD), bad], LIMITS, "drop")
    assert len(text) == 1
    assert report.reasons["broken JSON"].places == ["a.jsonl:7"]


def test_the_report_counts_everything_and_shows_the_first_three_places() -> None:
    _, report = clean(rows(GOOD, *[("", "x")] * 5, ("x", "")), LIMITS, "drop")
    assert str(report).splitlines() == [
        "7 sentence pairs read, 1 usable, 6 bad",
        "  empty source side: 5 (a.en:2, a.en:3, a.en:4, ...)",
        "  empty target side: 1 (a.en:7)",
    ]


def test_refusing_lists_all_reasons_at_once() -> None:
    with pytest.raises(ValueError, match="bad rows are refused") as error:
        clean(rows(GOOD, ("", "x"), ("x", "")), LIMITS, "refuse")
    assert "empty source side: 1 (a.en:2)" in str(error.value)
    assert "empty target side: 1 (a.en:3)" in str(error.value)


@pytest.mark.parametrize("bad", [[], rows(("", "x"))])
def test_nothing_usable_is_an_error_even_when_dropping(bad: list[Row]) -> None:
    with pytest.raises(ValueError, match="no usable sentence pair is left"):
        clean(bad, LIMITS, "drop")


def test_an_unknown_choice_is_refused() -> None:
    with pytest.raises(ValueError, match="choose 'drop' or 'refuse'"):
        clean([], LIMITS, "ignore")  # type: ignore[arg-type]


def test_the_default_limits_take_ordinary_translations() -> None:
    short, long = ("Ja.", "Yes, that is quite right, thank you very much."), ("Wort " * 100, "word " * 120)
    chinese = ("The committee will meet again next week to discuss the budget.", "委员会下周将再次开会讨论预算。")
    _, report = clean(rows(short, long, chinese), Limits(), "refuse")
    assert report == CleaningReport("refuse", read=3, kept=3)
