"""The embedded task: its size, its splits, and that it is the same everywhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sineformer.training.data import embedded_task
from sineformer.training.data.embedded_task import load_split
from sineformer.training.data.embedded_task.combinations import combinations
from sineformer.training.data.embedded_task.lexicon_modifiers import ADJECTIVES, PRONOUNS
from sineformer.training.data.embedded_task.lexicon_nouns import NOUNS
from sineformer.training.data.embedded_task.lexicon_verbs import VERBS
from sineformer.training.data.embedded_task.sentences import SentenceChooser
from sineformer.training.data.embedded_task.splits import LARGEST, part_of


def test_the_lexicon_has_more_than_150_words():
    words = {noun.german for noun in NOUNS} | {verb.prefix + verb.infinitive for verb in VERBS}
    words |= {adjective.german for adjective in ADJECTIVES} | {pronoun.nominative for pronoun in PRONOUNS}
    assert len(words) >= 250


TRAIN, TEST, VALIDATION = (load_split(split, size, seed=7) for split, size in
                           (("train", 20_000), ("test", 600), ("validation", 600)))  # fmt: skip


def test_sentences_are_distinct_within_and_across_splits_whatever_the_seeds():
    splits = [TRAIN, TEST, VALIDATION, load_split("test", 300, seed=8)]
    english = [{english for english, _ in split} for split in splits]
    assert [len(sentences) for sentences in english] == [20_000, 600, 600, 300]
    assert not english[0] & (english[1] | english[2] | english[3])
    assert not english[2] & (english[1] | english[3])


def test_every_held_out_sentence_has_a_combination_that_training_never_saw():
    chooser = SentenceChooser(3)
    drawn = [chooser.sentence() for _ in range(8_000)]
    found = {part: [combinations(sentence) for sentence in drawn if part_of(sentence) == part] for part in LARGEST}
    seen = frozenset().union(*found["train"])
    assert len(found["train"]) > 4_000
    assert len(found["test"]) > 300
    assert all(sentence - seen for sentence in found["test"] + found["validation"])


def _words(pairs, side):
    return {word.strip(".,?") for pair in pairs for word in pair[side].lower().split()}


def test_every_english_test_word_and_nearly_every_german_form_is_in_training():
    held_out = TEST + VALIDATION
    assert _words(held_out, 0) <= _words(TRAIN, 0)
    # Which of the inflected forms a training set of some size happens to hold is left to chance.
    assert len(_words(held_out, 1) - _words(TRAIN, 1)) <= 6


def test_an_english_sentence_has_one_german_translation():
    translations = {}
    for seed in range(3):
        for english, german in load_split("train", 2_000, seed):
            assert translations.setdefault(english, german) == german


def test_sentences_are_well_formed_text():
    for english, german in TRAIN:
        for text in (english, german):
            assert text[0].isupper()
            assert text[-1] in ".?"
            assert "  " not in text
            assert not any(mark in text for mark in ("_", "~", "|", " ,", ",.", ",?", ",,"))
        assert english.endswith("?") == german.endswith("?")
        assert 2 <= len(german.split()) <= 30


# The task needs no other module of the package, and so no second import of PyTorch.
_CHECKSUM = """
import hashlib
from embedded_task import load_split
pairs = [load_split(split, 300, 5) for split in ("train", "validation", "test")]
print(hashlib.sha256(repr(pairs).encode()).hexdigest())
"""


def test_the_same_seed_gives_the_same_sentences_in_every_process():
    def checksum(hash_seed):
        folder = Path(embedded_task.__file__).parents[1]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(folder)}
        done = subprocess.run([sys.executable, "-c", _CHECKSUM], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert checksum("1") == checksum("2")
    assert load_split("test", 50, 5) == load_split("test", 100, 5)[:50]
    assert load_split("test", 50, 5) != load_split("test", 50, 6)


def test_unknown_parts_and_impossible_sizes_are_refused_with_the_fix():
    with pytest.raises(ValueError, match="use one of train, validation, test"):
        load_split("dev", 10, 0)
    with pytest.raises(ValueError, match="use 0 to 10000"):
        load_split("test", 10_001, 0)
    with pytest.raises(ValueError, match="use 0 to"):
        load_split("train", -1, 0)
    assert load_split("train", 0, 0) == []


@pytest.mark.slow
def test_there_are_more_than_a_hundred_thousand_sentences_and_the_largest_held_out_parts():
    assert len({english for english, _ in load_split("train", 110_000, 0)}) == 110_000
    for split in ("validation", "test"):
        assert len(load_split(split, LARGEST[split], 0)) == LARGEST[split]
