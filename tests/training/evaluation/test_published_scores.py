import os
import random
from importlib import metadata

import pytest
from sacrebleu.metrics import BLEU, CHRF, TER

from sineformer.training.data.parallel_text import ParallelText
from sineformer.training.evaluation.published_scores import (
    MosesTokens,
    corpus_scores,
    has_repeated_characters,
    has_repetition,
    length_ratio,
    lower_case_bleu,
    measures,
    repetition_rate,
    worst_sentences,
)
from sineformer.training.evaluation.scores import exact_match

WORDS = ["der", "die", "Hund", "Katze", "Mann", "läuft", "schläft", "im", "Park", "auf", "Pferd", "und", "heute", "."]
REFERENCES = [" ".join(random.Random(i).choices(WORDS, k=8 + i % 5)) for i in range(60)]


def corrupted(every: int) -> list[str]:
    """Return the references, each with about one word in `every` replaced."""
    rng = random.Random(every)
    return [" ".join("falsch" if rng.randrange(every) == 0 else word for word in each.split()) for each in REFERENCES]


def every_other_wrong(first: int) -> list[str]:
    """Return the references, every second one from `first` on with its fourth word replaced."""
    return [
        " ".join("falsch" if word_at == 3 and i % 2 == first else word for word_at, word in enumerate(each.split()))
        for i, each in enumerate(REFERENCES)
    ]


def test_scores_and_signatures_are_those_of_sacrebleu() -> None:
    translations = [each.upper() if i % 2 else each for i, each in enumerate(corrupted(4))]
    scores = corpus_scores(translations, REFERENCES, "de")
    metrics = {
        "bleu": BLEU(),
        "bleu_lowercase": lower_case_bleu("de"),
        "chrf": CHRF(),
        "chrf_plus_plus": CHRF(word_order=2),
    }
    metrics["ter"] = TER()
    for name, metric in metrics.items():
        expected = metric.corpus_score(translations, [REFERENCES], n_bootstrap=1000)
        ours = scores[name]
        assert ours["score"] == expected.score
        assert (ours["mean"], ours["ci"]) == pytest.approx((expected._mean, expected._ci))
        for part in str(metric.get_signature()).split("|"):
            assert part in ours["signature"].split("|")
        assert "bs:1000" in ours["signature"]
        assert "seed:12345" in ours["signature"]
    assert scores["bleu"]["score"] < scores["bleu_lowercase"]["score"]
    assert "case:mixed" in scores["bleu"]["signature"]
    tokenizer = f"tok:moses-de-{metadata.version('sacremoses')}"
    assert {"case:lc", tokenizer} <= set(scores["bleu_lowercase"]["signature"].split("|"))


def test_a_small_translation_edit_rate_is_that_counted_by_hand() -> None:
    # One word replaced and one missing, of eight in the references.
    assert corpus_scores(["a b x d", "e f g"], ["a b c d", "e f g h"], "de")["ter"]["score"] == pytest.approx(25)


def test_the_seed_neither_depends_on_the_environment_nor_changes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = corpus_scores(corrupted(4), REFERENCES, "de")
    monkeypatch.setenv("SACREBLEU_SEED", "none")
    assert corpus_scores(corrupted(4), REFERENCES, "de") == expected
    assert os.environ["SACREBLEU_SEED"] == "none"


def test_a_clearly_better_system_is_found_by_every_score_as_model_and_as_baseline() -> None:
    good, bad = corrupted(20), corrupted(2)
    for scores, better in (
        (corpus_scores(good, REFERENCES, "de", baseline=bad), "model"),
        (corpus_scores(bad, REFERENCES, "de", baseline=good), "baseline"),
    ):
        assert {name: each["better"] for name, each in scores.items()} == dict.fromkeys(measures("de"), better)
        assert max(each["p_value"] for each in scores.values()) < 0.01


def test_a_system_is_not_better_than_itself_and_a_chance_difference_is_not_significant() -> None:
    for each in corpus_scores(every_other_wrong(0), REFERENCES, "de", every_other_wrong(1)).values():
        assert each["better"] == "neither"
        assert each["p_value"] > 0.05
    itself = corpus_scores(corrupted(4), REFERENCES, "de", corrupted(4))
    assert {each["p_value"] for each in itself.values()} == {1.0}


def test_the_numbers_of_a_system_are_the_same_with_and_without_comparison() -> None:
    alone = corpus_scores(corrupted(4), REFERENCES, "de")
    compared = corpus_scores(corrupted(4), REFERENCES, "de", baseline=corrupted(3))
    other = corpus_scores(corrupted(3), REFERENCES, "de")
    for name in measures("de"):
        assert compared[name]["score"] == alone[name]["score"]
        assert compared[name]["ci"] == pytest.approx(alone[name]["ci"])
        assert compared[name]["baseline"] == {key: other[name][key] for key in ("score", "mean", "ci")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a man a man rides", True),
        ("the the", True),
        ("a b c d a b c d", True),
        ("a b c d e a b c d e", False),  # longer than four words
        ("the man the dog", False),
        ("The the", False),
        ("", False),
    ],
)
def test_a_repetition_is_one_to_four_words_repeated_immediately(text: str, expected: bool) -> None:
    assert has_repetition(text) is expected


def test_rates_are_percentages_of_sentences_and_lengths_count_tokens() -> None:
    assert repetition_rate(["a a", "a b", "b b b", "c"], "en") == 50
    assert exact_match(["a", "b ", "c"], ["a", "b", "C"]) == pytest.approx(100 / 3)
    assert length_ratio(["one two three.", ""], ["one two", "three four five six"]) == pytest.approx(4 / 6)


def test_the_worst_sentences_come_first_and_ties_keep_their_order() -> None:
    text = ParallelText(["s1", "s2", "s3", "s4"], ["abcdef"] * 4, ["f"] * 4, [1, 2, 5, 6])
    rows = worst_sentences(text, ["xyz", "abcdef", "abcxyz", "uvw"], 3, ["b1", "b2", "b3", "b4"])
    assert [row["source"] for row in rows] == ["s1", "s4", "s3"]
    assert [row["line"] for row in rows] == [1, 6, 5]
    assert rows[1] == {
        "line": 6, "chrf": 0.0, "source": "s4", "reference": "abcdef", "translation": "uvw", "baseline": "b4"
    }  # fmt: skip
    assert worst_sentences(text, ["abcdef"] * 3 + ["uvw"], 3) == [{k: v for k, v in rows[1].items() if k != "baseline"}]
    assert rows[2]["chrf"] == CHRF().sentence_score("abcxyz", ["abcdef"]).score


CHINESE = ["那只小狗昨天在公园里睡觉。", "国王今天等待红色的鸟。", "大猫明天跑步。"]
NEARLY_CHINESE = [each.replace("狗", "猫").replace("红", "黑") for each in CHINESE]


@pytest.mark.parametrize("language", ["zh", "zh-CN", "zho_Hant"])
def test_chinese_is_scored_by_characters_and_not_by_words_between_spaces(language: str) -> None:
    scores = corpus_scores(NEARLY_CHINESE, CHINESE, language)
    assert list(scores) == ["bleu", "chrf", "chrf_plus_plus", "ter"], (
        "scores of words between spaces are meaningless here"
    )
    assert scores["bleu"]["score"] == BLEU(tokenize="zh").corpus_score(NEARLY_CHINESE, [CHINESE]).score > 70
    assert "tok:zh" in scores["bleu"]["signature"].split("|")
    expected = TER(normalized=True, asian_support=True).corpus_score(NEARLY_CHINESE, [CHINESE]).score
    assert scores["ter"]["score"] == expected
    assert 0 < expected < 20
    assert {"norm:yes", "asian:yes"} <= set(scores["ter"]["signature"].split("|"))


def test_thai_has_bleu_of_characters_and_no_ter_and_korean_has_all_scores() -> None:
    thai = ["\u0e2a\u0e38\u0e19\u0e31\u0e02\u0e19\u0e2d\u0e19\u0e2b\u0e25\u0e31\u0e1a\u0e2d\u0e22\u0e39\u0e48"]
    scores = corpus_scores([thai[0][:-2]], thai, "th")
    assert list(scores) == ["bleu", "chrf", "chrf_plus_plus"]
    assert "tok:char" in scores["bleu"]["signature"]
    korean = corpus_scores(["작은 개가 어제 잤다."], ["작은 개가 오늘 잤다."], "ko_KR")
    assert list(korean) == ["bleu", "bleu_lowercase", "chrf", "chrf_plus_plus", "ter"]
    assert "tok:char" in korean["bleu"]["signature"]
    assert korean["ter"]["score"] == pytest.approx(25)


def test_a_requested_tokenizer_applies_to_bleu_alone() -> None:
    scores = corpus_scores(NEARLY_CHINESE, CHINESE, "zh", tokenize="char")
    assert "tok:char" in scores["bleu"]["signature"]
    assert scores["ter"] == corpus_scores(NEARLY_CHINESE, CHINESE, "zh")["ter"]
    assert length_ratio(["狗睡觉"], ["狗睡"], "char") == 3 / 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [("妈妈看看书", False), ("我是我是学生", True), ("的的的的的", True), ("我 是我是", True), ("", False)],
)
def test_a_repetition_without_spaces_is_two_to_eight_repeated_characters(text: str, expected: bool) -> None:
    assert has_repeated_characters(text) is expected
    assert repetition_rate([text], "zh_Hans") == 100 * expected


@pytest.mark.parametrize(
    ("language", "line", "tokens"),
    [
        ("fr", "l'homme d\u2019un certain âge.", "l' homme d' un certain âge ."),
        ("en", "a man's dog, isn't it?", "a man 's dog , isn 't it ?"),
        ("de", "ein mann z.b. mit „hut“ & stock", 'ein mann z.b. mit " hut " & stock'),
    ],
)
def test_text_is_tokenised_by_the_rules_of_its_language(language: str, line: str, tokens: str) -> None:
    assert MosesTokens(language)(line) == tokens


def test_the_score_is_that_of_the_tokens_without_case() -> None:
    translations = ["L'homme dort.", "Une femme d'ici rit fort."]
    references = ["l'homme dort .", "Une femme d'ici rit."]
    tokens = [[MosesTokens("fr")(line.lower()) for line in lines] for lines in (translations, references)]
    expected = BLEU(tokenize="none").corpus_score(tokens[0], [tokens[1]]).score
    assert lower_case_bleu("fr").corpus_score(translations, [references]).score == expected
    assert expected != BLEU(lowercase=True).corpus_score(translations, [references]).score
