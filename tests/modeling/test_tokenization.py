"""Test the tokenizer: two vocabularies in one object, and added tokens that are found in text."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import HfApi
from transformers import (
    AddedToken,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    PreTrainedTokenizerFast,
    TextIteratorStreamer,
)

from sineformer import SineformerTokenizer
from sineformer.training.data.bpe import train_tokenizers

ENGLISH = ["A dog runs over the bridge.", "The dogs are running.", "Two men, 12 dogs & a cat."] * 20
GERMAN = ["Ein Hund läuft über die Brücke.", "Die Hunde laufen.", "Zwei Männer, 12 Hunde & eine Katze."] * 20
SOURCE, TARGET = "The dogs are running over the bridge.", "Die Hunde laufen über die Brücke."


@pytest.fixture
def joint() -> SineformerTokenizer:
    return train_tokenizers(ENGLISH, GERMAN, 340).source


@pytest.fixture
def separate() -> SineformerTokenizer:
    """Return a tokenizer with separate vocabularies of 310 source and 320 target tokens."""
    return train_tokenizers(ENGLISH, GERMAN, 310, 320).source


@pytest.fixture(params=["joint", "separate"])
def tokenizer(request: pytest.FixtureRequest) -> SineformerTokenizer:
    return request.getfixturevalue(request.param)


def loaded_with_code(folder: Path | str, **place: Any) -> Any:
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=True, **place)


def reload(tokenizer: Any, folder: Path) -> Any:
    tokenizer.save_pretrained(folder)
    return loaded_with_code(folder)


def same_ids(tokenizer: Any, other: Any) -> bool:
    return tokenizer(SOURCE, text_target=TARGET).data == other(SOURCE, text_target=TARGET).data


def test_a_target_is_encoded_with_its_own_vocabulary(separate: SineformerTokenizer) -> None:
    target: Any = separate.target_tokenizer
    labels = target(TARGET)["input_ids"]
    batch = separate(SOURCE, text_target=TARGET)
    assert batch["labels"] == separate(text_target=TARGET)["input_ids"] == labels
    assert batch["input_ids"] == separate(SOURCE)["input_ids"]
    assert labels != separate(TARGET)["input_ids"]
    several = separate([SOURCE, "A"], text_target=[TARGET, "B"], padding=True, return_tensors="pt")
    assert several["labels"][0].tolist() == labels
    assert several["labels"].shape[0] == several["input_ids"].shape[0] == 2


def test_ids_of_the_target_are_decoded_and_on_request_those_of_the_source(tokenizer: SineformerTokenizer) -> None:
    labels = tokenizer(text_target=TARGET)["input_ids"]
    for ids in (labels, torch.tensor(labels), np.array(labels), list(torch.tensor(labels))):
        assert tokenizer.decode(ids, skip_special_tokens=True) == TARGET
    assert tokenizer.decode(labels) == f"{TARGET}</s>"
    assert tokenizer.decode([labels, labels[:1]], skip_special_tokens=True)[0] == TARGET
    assert tokenizer.decode(3) == "</s>"
    assert tokenizer.batch_decode(torch.tensor([labels]), skip_special_tokens=True) == [TARGET]
    sources = tokenizer([SOURCE])["input_ids"]
    assert tokenizer.batch_decode(sources, skip_special_tokens=True, use_source_tokenizer=True) == [SOURCE]


def test_settings_apply_to_both_sides(separate: SineformerTokenizer) -> None:
    separate.padding_side = separate.truncation_side = "left"
    separate.model_max_length = 3
    texts = [TARGET, ""]
    labels = separate(text_target=texts, padding=True, truncation=True)["input_ids"]
    assert [len(each) for each in labels] == [3, 3]
    assert labels[1][0] == separate.pad_token_id
    assert separate.decode(labels[0], skip_special_tokens=True).endswith(".")
    batch = separate(SOURCE, text_target=TARGET, max_length=5, max_target_length=4, truncation=True)
    assert [len(batch["input_ids"]), len(batch["labels"])] == [5, 4]


def test_size_ids_and_padding_are_of_the_source(separate: SineformerTokenizer) -> None:
    target: Any = separate.target_tokenizer
    assert (len(separate), len(target)) == (310, 320)
    padded = separate.pad({"input_ids": [[5, 3], [3]]})
    assert padded["input_ids"] == [[5, 3], [3, separate.pad_token_id]]
    assert padded["attention_mask"] == [[1, 1], [1, 0]]


def test_it_is_saved_with_all_vocabularies_and_code(tokenizer: SineformerTokenizer, tmp_path: Path) -> None:
    first = reload(tokenizer, tmp_path / "first")
    assert type(first).__name__ == "SineformerTokenizer"
    second = reload(first, tmp_path / "second")
    for again in (first, second, SineformerTokenizer.from_pretrained(tmp_path / "first")):
        assert same_ids(again, tokenizer)
        assert again.decode(again(text_target=TARGET)["input_ids"], skip_special_tokens=True) == TARGET
        assert again.separate_vocabs == tokenizer.separate_vocabs
    names = {path.relative_to(tmp_path / "second").as_posix() for path in (tmp_path / "second").rglob("*.*")}
    target = {"target_tokenizer/tokenizer.json", "target_tokenizer/tokenizer_config.json"}
    assert names == {"tokenizer.json", "tokenizer_config.json", "tokenization_sineformer.py"} | (
        target if tokenizer.separate_vocabs else set()
    )


def test_one_vocabulary_loads_as_a_stock_tokenizer_without_code(joint: SineformerTokenizer, tmp_path: Path) -> None:
    joint.save_pretrained(tmp_path)
    for trust in (None, False):
        stock = AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=trust)
        assert type(stock) is PreTrainedTokenizerFast
        assert same_ids(stock, joint)
        stock.save_pretrained(tmp_path / "stock")
        assert same_ids(PreTrainedTokenizerFast.from_pretrained(tmp_path / "stock"), joint)


def test_each_of_two_vocabularies_loads_as_a_stock_tokenizer(separate: SineformerTokenizer, tmp_path: Path) -> None:
    separate.save_pretrained(tmp_path)
    source = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    target = AutoTokenizer.from_pretrained(tmp_path, subfolder="target_tokenizer")
    assert source(SOURCE)["input_ids"] == separate(SOURCE)["input_ids"]
    assert type(target) is PreTrainedTokenizerFast
    assert target(TARGET)["input_ids"] == separate(text_target=TARGET)["input_ids"]


def test_a_folder_without_the_target_tokenizer_is_refused(separate: SineformerTokenizer, tmp_path: Path) -> None:
    separate.save_pretrained(tmp_path)
    (tmp_path / "target_tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(OSError, match=r"lacks target_tokenizer/tokenizer\.json; copy it there"):
        loaded_with_code(tmp_path)


def test_one_vocabulary_saved_over_two_loads_as_one(separate: Any, joint: SineformerTokenizer, tmp_path: Path) -> None:
    separate.save_pretrained(tmp_path)
    assert same_ids(reload(joint, tmp_path), joint)


def test_a_folder_from_before_the_class_still_has_two(separate: SineformerTokenizer, tmp_path: Path) -> None:
    separate.save_pretrained(tmp_path)
    (tmp_path / "tokenization_sineformer.py").unlink()
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    del config["auto_map"], config["separate_vocabs"]
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert same_ids(SineformerTokenizer.from_pretrained(tmp_path), separate)


def test_copies_and_pickles_have_both_sides(separate: SineformerTokenizer) -> None:
    for again in (copy.deepcopy(separate), pickle.loads(pickle.dumps(separate))):
        assert same_ids(again, separate)
        assert again.target_tokenizer is not separate.target_tokenizer


@pytest.mark.parametrize("way", ["push_to_hub", "save_pretrained"])
def test_the_hub_gets_both_vocabularies_and_the_code(hub_client: Any, tokenizer: Any, way: str, tmp_path: Path) -> None:
    name = f"user/{way}-{tokenizer.separate_vocabs}".lower()
    if way == "push_to_hub":
        tokenizer.push_to_hub(name)
    else:
        tokenizer.save_pretrained(tmp_path / "folder", push_to_hub=True, repo_id=name)
    commit = HfApi().list_repo_commits(name)[0].commit_id
    tokenizer.add_tokens("<new>")
    tokenizer.push_to_hub(name)
    old, new = (loaded_with_code(name, revision=revision) for revision in (commit, "main"))
    assert same_ids(old, tokenizer)
    assert (len(old), len(new)) == (len(tokenizer) - 1, len(tokenizer))


def test_the_collator_pads_both_sides(tokenizer: SineformerTokenizer) -> None:
    rows = [tokenizer(SOURCE, text_target=TARGET), tokenizer("A dog", text_target="Ein")]
    batch = DataCollatorForSeq2Seq(tokenizer)([dict(row) for row in rows])
    assert batch["labels"][1].tolist()[: len(rows[1]["labels"])] == rows[1]["labels"]
    assert batch["labels"][1, -1] == -100
    assert batch["input_ids"][1, -1] == tokenizer.pad_token_id
    assert batch["attention_mask"][1].sum() == len(rows[1]["input_ids"])


def test_a_streamer_writes_the_target(tokenizer: SineformerTokenizer) -> None:
    streamer = TextIteratorStreamer(tokenizer, skip_special_tokens=True)
    for token in tokenizer(text_target=TARGET)["input_ids"]:
        streamer.put(torch.tensor([token]))
    streamer.end()
    assert "".join(streamer) == TARGET


def test_special_tokens_in_a_text_are_text_by_default(tokenizer: SineformerTokenizer) -> None:
    text = "a </s> b <pad>"
    for side in ("text", "text_target"):
        ids = tokenizer(**{side: text})["input_ids"]
        assert ids.count(tokenizer.eos_token_id) == 1
        assert tokenizer.pad_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True, use_source_tokenizer=side == "text") == text
        asked = tokenizer(**{side: text}, split_special_tokens=False)["input_ids"]
        assert asked.count(tokenizer.eos_token_id) == 2
        assert tokenizer.pad_token_id in asked


ADDING = {
    "additional_special_tokens": lambda each: each.add_special_tokens({"additional_special_tokens": ["<2de>"]}),
    "extra_special_tokens": lambda each: each.add_special_tokens({"extra_special_tokens": [AddedToken("<2de>")]}),
    "sep_token": lambda each: each.add_special_tokens({"sep_token": "<2de>"}),
    "special_tokens": lambda each: each.add_tokens(["<2de>"], special_tokens=True),
    "add_tokens": lambda each: each.add_tokens("<2de>"),
    "AddedToken": lambda each: each.add_tokens([AddedToken("<2de>", single_word=True)]),
}


@pytest.mark.parametrize("add", ADDING.values(), ids=ADDING.keys())
def test_an_added_token_is_found_in_text_also_after_saving(tokenizer: Any, add: Any, tmp_path: Path) -> None:
    before = len(tokenizer)
    assert add(tokenizer) == 1
    assert add(tokenizer) == 0
    for each in (
        tokenizer,
        reload(tokenizer, tmp_path / "a"),
        reload(loaded_with_code(tmp_path / "a"), tmp_path / "b"),
    ):
        assert len(each) == before + 1
        new = each.convert_tokens_to_ids("<2de>")
        assert new == before
        ids = each(f"<2de> {SOURCE}</s>")["input_ids"]
        assert ids == [new, *each(f"{SOURCE}</s>")["input_ids"]]
        assert each.decode(ids, use_source_tokenizer=True) == f"<2de> {SOURCE}</s></s>"


def test_decoding_skips_added_special_tokens_only(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.add_special_tokens({"additional_special_tokens": ["<2de>"]})
    tokenizer.add_tokens("<name>")
    for each in (tokenizer, reload(tokenizer, tmp_path)):
        ids = each("<2de> The <name> dog")["input_ids"]
        assert each.decode(ids, skip_special_tokens=True, use_source_tokenizer=True) == "The <name> dog"
        assert "<2de>" in each.all_special_tokens
        assert "<name>" not in each.all_special_tokens


def test_an_added_token_works_in_a_stock_tokenizer_of_the_same_folder(joint: Any, tmp_path: Path) -> None:
    joint.add_special_tokens({"additional_special_tokens": ["<2de>"]})
    joint.save_pretrained(tmp_path)
    text = f"<2de> {SOURCE} </s>"
    assert AutoTokenizer.from_pretrained(tmp_path)(text)["input_ids"] == joint(text)["input_ids"]


def test_adding_a_known_token_does_not_make_it_found_in_text(tokenizer: SineformerTokenizer, tmp_path: Path) -> None:
    tokenizer.add_special_tokens({"eos_token": "</s>", "additional_special_tokens": ["<pad>"]})
    ids = reload(tokenizer, tmp_path)("a </s> <pad>")["input_ids"]
    assert (ids.count(tokenizer.eos_token_id), ids.count(tokenizer.pad_token_id)) == (1, 0)


def test_tokens_can_be_added_to_the_target(separate: SineformerTokenizer, tmp_path: Path) -> None:
    target: Any = separate.target_tokenizer
    target.add_special_tokens({"additional_special_tokens": ["<formal>"]})
    again = reload(separate, tmp_path)
    ids = again(text_target=f"<formal> {TARGET}")["input_ids"]
    assert ids == [320, *separate(text_target=TARGET)["input_ids"]]
    assert again.decode(ids, skip_special_tokens=True) == TARGET
    assert len(again) == 310


def test_without_the_code_tokens_of_add_tokens_are_found(joint: SineformerTokenizer, tmp_path: Path) -> None:
    joint.save_pretrained(tmp_path)
    stock = AutoTokenizer.from_pretrained(tmp_path)
    stock.add_tokens("<2de>")
    assert len(joint) in stock(f"<2de> {SOURCE}")["input_ids"]
