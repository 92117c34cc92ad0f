"""Cleaning: kept pairs are unchanged, others are counted with their locations."""

from __future__ import annotations

import pytest

from sineformer.training.data.cleaning import (
    CleaningReport,
    Limits,
    clean,
    length_in_letters,
    read_sample,
    usable_rows_of_stream,
)
from sineformer.training.data.parallel_text import ParallelText
from sineformer.training.data.readers.rows import Row

LIMITS = Limits(max_characters=50, max_length_ratio=2.0, ratio_floor=10)


def rows(*pairs: tuple[str | None, str | None]) -> list[Row]:
    return [Row(source, target, "a.en", line) for line, (source, target) in enumerate(pairs, 1)]


GOOD = ("  A dog  runs. ", "Ein Hund läuft.")


def test_usable_pairs_are_kept_unchanged_with_their_locations() -> None:
    text, report = clean(rows(GOOD, ("Yes.", "Ja.")), LIMITS, "refuse")
    assert text == ParallelText([GOOD[0], "Yes."], [GOOD[1], "Ja."], ["a.en", "a.en"], [1, 2])
    assert text.location(1) == "a.en:2"
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


def test_a_problem_found_by_the_reader_is_the_reason() -> None:
    bad = Row(None, None, "a.jsonl", 7, "broken JSON")
    text, report = clean([*rows(GOOD), bad], LIMITS, "drop")
    assert len(text) == 1
    assert report.reasons["broken JSON"].places == ["a.jsonl:7"]


def test_the_report_counts_everything_and_shows_the_first_three_locations() -> None:
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


FUND = (
    "The International Monetary Fund expects growth of the world economy to slow down considerably this year because "
    "of high interest rates."
)
PANEL = (
    "Representatives of fifty-three governments unanimously adopted the recommendations of the intergovernmental panel."
)
GOOD_PAIRS = [
    (FUND, "国际货币基金组织预计今年世界经济增长放缓。"),
    (PANEL, "五十三国一致通过专家组建议。"),
    (PANEL, "五十三か国の代表が政府間パネルの勧告を採択した。"),
    (PANEL, "정부 대표들이 정부 간 패널의 권고를 채택했다."),
    (PANEL, "Vertreter von dreiundfünfzig Regierungen nahmen die Empfehlungen des Gremiums an."),
    (PANEL, "Представители правительств приняли рекомендации группы."),
]
BAD_PAIRS = [
    ("He agreed.", "国际货币基金组织预计今年世界经济增长放缓主要原因是利率高企以及许多国家债务沉重。"),
    (FUND, "好的。"),
    (FUND, "Ja, gut."),
    (
        "He agreed.",
        "Vertreter von dreiundfünfzig Regierungen nahmen gestern die Empfehlungen des Gremiums für das Klima an.",
    ),
]


@pytest.mark.parametrize("turned", [False, True])
def test_the_ratio_of_lengths_is_right_across_scripts(turned: bool) -> None:
    order = -1 if turned else 1
    _, report = clean(rows(*(pair[::order] for pair in GOOD_PAIRS)), Limits(), "refuse")
    assert report.kept == len(GOOD_PAIRS)
    assert len(GOOD_PAIRS[1][0]) > 5 * 20 > 5 * len(GOOD_PAIRS[1][1]), "counted in characters it would be dropped"
    _, report = clean(rows(GOOD, *(pair[::order] for pair in BAD_PAIRS)), Limits(), "drop")
    assert {reason: found.count for reason, found in report.reasons.items()} == {
        "one side over 5 times as long as the other": len(BAD_PAIRS)
    }


def test_characters_count_as_letters_by_script() -> None:
    assert [length_in_letters(text) for text in ("a b", "ä", "狗", "狗狗。", "かな", "한국", "\uff57", "มา", "𠀀")] == [
        *(3, 1, 3, 8, 4, 4, 2, 2, 3)
    ]


def test_too_many_bad_rows_are_an_error_with_counts_reasons_and_locations() -> None:
    mixed = rows(*[GOOD] * 17, ("", "x"), ("", "y"), ("x", ""))
    text, report = clean(mixed, LIMITS, "drop", max_unusable_share=0.15)
    assert (len(text), report.bad) == (17, 3), "just as many as are allowed"
    with pytest.raises(
        ValueError, match=r"3 of 20 rows \(15\.0%\) cannot be used, and max_unusable_share allows 14\.0%; "
    ) as error:
        clean(mixed, LIMITS, "drop", max_unusable_share=0.14)
    assert str(error.value).splitlines()[1:] == [
        "20 sentence pairs read, 17 usable, 3 bad",
        "  empty source side: 2 (a.en:18, a.en:19)",
        "  empty target side: 1 (a.en:20)",
    ]


def test_a_stream_ends_as_soon_as_most_of_it_is_clearly_unusable() -> None:
    report = CleaningReport(max_unusable_share=0.1)
    long = (Row("", "x", "s", line) if line % 5 else Row(*GOOD, "s", line) for line in range(1, 20_000))
    with pytest.raises(ValueError, match=r"800 of 1,000 rows \(80\.0%\) cannot be used"):
        list(usable_rows_of_stream(long, LIMITS, report))


def test_chance_does_not_end_a_stream_whose_share_is_allowed() -> None:
    """Among its first 1,000 rows are a few more bad ones than in all of it."""
    report = CleaningReport(max_unusable_share=0.1)
    stream = [
        Row("", "x", "s", line) if line % 9 == 0 and line < 1_500 else Row(*GOOD, "s", line) for line in range(5_000)
    ]
    assert len(list(usable_rows_of_stream(stream, LIMITS, report))) == 5_000 - report.bad
    assert report.bad > 150


def test_a_sample_of_a_stream_that_ends_is_checked_completely() -> None:
    short = rows(*[GOOD] * 8, ("", "x"), ("x", ""))
    with pytest.raises(ValueError, match="2 of 10 rows"):
        read_sample(short, LIMITS, CleaningReport(max_unusable_share=0.1), 100)
    assert read_sample(short, LIMITS, CleaningReport(max_unusable_share=0.2), 100) == [GOOD] * 8
    assert read_sample(short, LIMITS, CleaningReport(max_unusable_share=0.1), 3) == [GOOD] * 3
    with pytest.raises(ValueError, match="no usable sentence pair is left"):
        read_sample([], LIMITS, CleaningReport(), 3)
