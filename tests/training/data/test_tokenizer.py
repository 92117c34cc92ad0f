"""The tokenizer: no text is lost, no text becomes a special token, and training is deterministic."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import unicodedata
import warnings
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from sineformer.training.data.bpe import normalise, train_tokenizer, train_tokenizers
from sineformer.training.data.tokenizer import Tokenizers, load_tokenizers, save_tokenizers

ENGLISH = ["A dog runs over the bridge.", "The dogs are running.", "Two men, 12 dogs & <0x41> a <pad> cat </s>."] * 30
GERMAN = ["Ein Hund läuft über die Brücke.", "Die Hunde laufen.", "Zwei Männer, 12 Hunde & eine Katze."] * 30
PAD, UNKNOWN, START, END = range(4)

HARD_TEXTS = [
    "",
    " ",
    "  two  before,   three between, one after ",
    "tabs\tand\nnew\r\nlines\n",
    "\x00 \x07 \x1b \x7f \x85",
    "<pad>",
    "a <pad> b</s><s> <unk>",
    "</s>",
    "<0x41><0x0A> <0xFF",
    "<<<<pad>>>>",
    "▁ U+2581 is ▁▁ text ▁",
    "Ġ byte-level stand-ins Ċ",
    "e\u0301 combines, é does not, \u0301 stands alone",
    "\u1100\u1161\u11a8 composes to 각",
    "\u212b \u2126 \ufb01 ½",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 👍🏽",
    "שלום עולם مرحبا بالعالم \u202eabc\u202c",
    "我爱你。 日本語 ภาษาไทย हिन्दी",
    "zero\u200bwidth\u2060 no\u00a0break\u202fspaces\u3000",
    "\ufeffmark \ufffd \uffff \U0010ffff \ue000",
    "a" * 1000,
    "word " * 300,
    "'\"\\ {}[]() //",
]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer([*ENGLISH, *GERMAN], vocab_size=360)


@pytest.fixture(scope="module")
def saved(tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    save_tokenizers(Tokenizers(tokenizer, tokenizer), folder)
    return folder


def random_texts(count: int) -> list[str]:
    """Return strings over all of Unicode except surrogates, with many characters that tokenizers treat specially."""
    generator = random.Random(0)
    special = [
        "<pad>",
        "</s>",
        "<unk>",
        "<s>",
        "<0x41>",
        "▁",
        " ",
        "  ",
        "\n",
        "\u0301",
        "\u200d",
        "<",
        "0x",
        ">",
        "dog",
    ]

    def piece() -> str:
        if generator.random() < 0.5:
            return generator.choice(special)
        top = generator.choice([0x80, 0x250, 0x3000, 0x10000, 0x110000])
        point = generator.randrange(top)
        return "" if 0xD800 <= point < 0xE000 else chr(point)

    return ["".join(piece() for _ in range(generator.randrange(30))) for _ in range(count)]


def decode(tokenizer: PreTrainedTokenizerFast, text: str) -> str:
    return tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True)


@pytest.mark.parametrize("text", HARD_TEXTS)
def test_hard_text_survives_encoding_and_decoding(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert decode(tokenizer, text) == normalise(text)


def test_any_unicode_text_survives_encoding_and_decoding(tokenizer: PreTrainedTokenizerFast) -> None:
    for text in random_texts(3000):
        assert decode(tokenizer, text) == normalise(text), repr(text)


def test_any_text_survives_in_a_vocabulary_of_bytes_and_little_else() -> None:
    smallest = train_tokenizer(["ab"], vocab_size=261)
    assert len(smallest) == 261
    for text in [*HARD_TEXTS, *random_texts(300)]:
        assert decode(smallest, text) == normalise(text), repr(text)


def test_normalisation_is_nfc() -> None:
    for text in ["e\u0301", "\u212b", "\ufb01 ½ A  b", "각", " "]:
        assert normalise(text) == unicodedata.normalize("NFC", text)


def test_text_never_gives_special_tokens_but_the_final_end(tokenizer: PreTrainedTokenizerFast) -> None:
    for text in [*HARD_TEXTS, *random_texts(300)]:
        ids = tokenizer(text)["input_ids"]
        assert ids[-1] == END
        assert not {PAD, UNKNOWN, START, END} & set(ids[:-1]), repr(text)


def test_merges_never_spell_a_special_or_byte_token_even_if_the_training_text_is_full_of_them() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    texts = [f"{left}<0x41>{right}<pad>{left}</s>{right}" for left in letters for right in letters]
    with pytest.warns(UserWarning, match="the text supports"):
        trained = train_tokenizer(texts, vocab_size=8000)
    assert decode(trained, "a<0x41><pad></s>") == "a<0x41><pad></s>"
    assert not {PAD, END, 4 + 0x41} & set(trained("a<0x41><pad></s>")["input_ids"][:-1])


def test_ids_are_specials_then_bytes_then_learned_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    first = ["<pad>", "<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    assert tokenizer.convert_ids_to_tokens(list(range(260))) == first
    named = (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert named == (PAD, UNKNOWN, START, END)
    assert len(tokenizer) == tokenizer.vocab_size == 360
    assert sorted(tokenizer.get_added_vocab().values()) == [PAD, UNKNOWN, START, END]


def test_frequent_words_are_one_token_at_any_position(tokenizer: PreTrainedTokenizerFast) -> None:
    dog, end = tokenizer("dog")["input_ids"]
    assert end == END
    assert tokenizer("dog dog")["input_ids"] == [dog, dog, END]


def test_characters_outside_the_alphabet_become_their_bytes(tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("€")["input_ids"])
    assert tokens == [" ", "<0xE2>", "<0x82>", "<0xAC>", "</s>"]


def test_a_batch_is_padded_on_the_right_with_labels_from_text_target(tokenizer: PreTrainedTokenizerFast) -> None:
    batch = tokenizer(["A dog.", "A dog runs over."], text_target=["Ein Hund.", "Ja."], padding=True)
    assert set(batch) == {"input_ids", "attention_mask", "labels"}
    assert batch["input_ids"][0][-1] == PAD
    assert batch["attention_mask"][0][-1] == 0
    assert batch["labels"][0] == tokenizer("Ein Hund.")["input_ids"]


def test_truncation_keeps_the_end_token_and_the_length_limit(tokenizer: PreTrainedTokenizerFast) -> None:
    text = "A dog runs over the bridge."
    ids = tokenizer(text, truncation=True, max_length=4)["input_ids"]
    assert (len(ids), ids[-1]) == (4, END)
    assert tokenizer(text, truncation=True)["input_ids"] == tokenizer(text)["input_ids"]


def test_a_long_text_gives_no_warning(tokenizer: PreTrainedTokenizerFast, saved: Path) -> None:
    long = "A dog runs over the bridge. " * 400
    program = (
        "import sys; from transformers import AutoTokenizer;"
        "print(len(AutoTokenizer.from_pretrained(sys.argv[1])(sys.argv[2])['input_ids']))"
    )
    done = subprocess.run([sys.executable, "-c", program, saved, long], capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(tokenizer(long)["input_ids"]) > 2000
    assert "indexing errors" not in done.stderr


def test_auto_tokenizer_loads_the_saved_folder_with_the_same_behaviour(
    tokenizer: PreTrainedTokenizerFast, saved: Path
) -> None:
    loaded = AutoTokenizer.from_pretrained(saved)
    assert isinstance(loaded, PreTrainedTokenizerFast)
    for text in [*HARD_TEXTS, *random_texts(300)]:
        assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
        assert decode(loaded, text) == normalise(text)
    kept = ("padding_side", "clean_up_tokenization_spaces", "split_special_tokens")
    assert [getattr(loaded, name) for name in kept] == ["right", False, True]
    again = loaded("<pad>", split_special_tokens=True)["input_ids"]
    assert again == tokenizer("<pad>")["input_ids"]


def test_auto_tokenizer_needs_no_remote_code_beside_a_model_that_does(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    save_tokenizers(Tokenizers(tokenizer, tokenizer), tmp_path)
    config = {"model_type": "unheard_of", "auto_map": {"AutoConfig": "configuration_absent.Absent"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=False)
    assert loaded("A dog </s>")["input_ids"] == tokenizer("A dog </s>")["input_ids"]


def test_the_saved_class_name_is_known_to_transformers_4_and_5(saved: Path) -> None:
    config = json.loads((saved / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_the_tokenizers_library_alone_gives_the_same_ids_and_text(
    tokenizer: PreTrainedTokenizerFast, saved: Path
) -> None:
    alone = Tokenizer.from_file(str(saved / "tokenizer.json"))
    alone.encode_special_tokens = True
    for text in [*HARD_TEXTS, *random_texts(300)]:
        ids = alone.encode(text).ids
        assert ids == tokenizer(text)["input_ids"]
        assert alone.decode(ids) == normalise(text)


TRAIN_AND_SAVE = """
import pathlib, sys
from sineformer.training.data.bpe import train_tokenizers
from sineformer.training.data.tokenizer import save_tokenizers
texts = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8").split("\\n")
save_tokenizers(train_tokenizers(texts, texts[:900], 600, 700), sys.argv[2])
"""


def test_the_same_text_gives_the_same_files_in_every_process(tmp_path: Path) -> None:
    generator = random.Random(0)
    words = ["".join(generator.choices("abcdefghijklmnopqrstuvwxyzäöüß", k=5)) for _ in range(1000)]
    # Every word and every rare letter occurs equally often: what to merge and what to leave out is all ties.
    texts = [*words, *words[::-1], "".join(map(chr, range(0x4E00, 0x5E00)))]
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(texts), encoding="utf-8")
    save_tokenizers(train_tokenizers(texts, texts[:900], 600, 700), tmp_path / "here")
    settings = {"PYTHONHASHSEED": "12345", "RAYON_NUM_THREADS": "4", "TOKENIZERS_PARALLELISM": "true"}
    command = [sys.executable, "-c", TRAIN_AND_SAVE, corpus, tmp_path / "there"]
    subprocess.run(command, env=os.environ | settings, check=True)
    files = sorted(path.relative_to(tmp_path / "here") for path in (tmp_path / "here").rglob("*.json"))
    assert len(files) == 4
    for file in files:
        assert (tmp_path / "here" / file).read_bytes() == (tmp_path / "there" / file).read_bytes(), file


@pytest.mark.parametrize("vocab_size", [0, 4, 260])
def test_a_vocabulary_without_room_for_text_is_refused(vocab_size: int) -> None:
    with pytest.raises(ValueError, match=rf"vocab_size is {vocab_size}, but 4 special and 256 byte tokens take 260"):
        train_tokenizer(ENGLISH, vocab_size)


@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_no_training_text_is_refused(texts: list[str]) -> None:
    with pytest.raises(ValueError, match="no text to train a tokenizer on"):
        train_tokenizer(texts, 400)


def test_text_with_too_few_merges_gives_a_smaller_vocabulary_and_says_so() -> None:
    with pytest.warns(UserWarning, match=r"the text supports 26\d tokens, not the 8000"):
        small = train_tokenizer(["abab"], 8000)
    assert len(small) < 270
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train_tokenizer(ENGLISH, 320)


def test_a_large_alphabet_leaves_half_of_the_room_to_merges() -> None:
    every_character_once = "".join(map(chr, range(0x4E00, 0x5E00)))
    trained = train_tokenizer([every_character_once, *ENGLISH], vocab_size=360)
    learned = trained.convert_ids_to_tokens(list(range(260, 360)))
    assert sum(len(token) == 1 for token in learned) == 50
    assert {"d", "o", "g"} < set(learned)


def test_a_joint_tokenizer_serves_both_sides_from_one_folder(tmp_path: Path) -> None:
    joint = train_tokenizers(ENGLISH, GERMAN, 360)
    assert joint.joint
    save_tokenizers(joint, tmp_path)
    loaded = load_tokenizers(tmp_path)
    assert loaded.joint
    assert loaded.source("Die Brücke")["input_ids"] == joint.target("Die Brücke")["input_ids"]


def test_separate_tokenizers_each_know_their_side(tmp_path: Path) -> None:
    separate = train_tokenizers(ENGLISH, GERMAN, 330, 340)
    assert not separate.joint
    assert (len(separate.source), len(separate.target)) == (330, 340)
    save_tokenizers(separate, tmp_path)
    loaded = load_tokenizers(tmp_path)
    assert not loaded.joint
    assert loaded.source.get_vocab() == separate.source.get_vocab()
    assert loaded.target.get_vocab() == separate.target.get_vocab()
    assert " dog" in loaded.source.get_vocab()
    assert " dog" not in loaded.target.get_vocab()


def test_a_joint_tokenizer_is_not_saved_over_separate_ones(tmp_path: Path) -> None:
    save_tokenizers(train_tokenizers(ENGLISH, GERMAN, 300, 300), tmp_path)
    with pytest.raises(ValueError, match="already holds separate tokenizers"):
        save_tokenizers(train_tokenizers(ENGLISH, GERMAN, 300), tmp_path)


def test_a_folder_without_a_tokenizer_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no tokenizer\.json"):
        load_tokenizers(tmp_path)
