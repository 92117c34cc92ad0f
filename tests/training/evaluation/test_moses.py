"""Lower-case tokens as the Moses scripts make them."""

import pytest
from sacrebleu.metrics import BLEU

from sineformer.training.evaluation.moses import MosesTokens, lower_case_bleu


@pytest.mark.parametrize(
    ("language", "line", "tokens"),
    [
        ("fr", "l'homme d\u2019un certain âge.", "l' homme d' un certain âge ."),
        ("en", "a man's dog, isn't it?", "a man 's dog , isn 't it ?"),
        ("de", "ein mann z.b. mit „hut“ & stock", 'ein mann z.b. mit " hut " & stock'),
    ],
)
def test_text_is_cut_by_the_rules_of_its_language(language: str, line: str, tokens: str) -> None:
    assert MosesTokens(language)(line) == tokens


def test_the_score_is_that_of_the_tokens_without_case() -> None:
    translations = ["L'homme dort.", "Une femme d'ici rit fort."]
    references = ["l'homme dort .", "Une femme d'ici rit."]
    tokens = [[MosesTokens("fr")(line.lower()) for line in lines] for lines in (translations, references)]
    expected = BLEU(tokenize="none").corpus_score(tokens[0], [tokens[1]]).score
    assert lower_case_bleu("fr").corpus_score(translations, [references]).score == expected
    assert expected != BLEU(lowercase=True).corpus_score(translations, [references]).score
