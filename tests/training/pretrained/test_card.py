"""Test the model card of a folder that was saved without one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from sineformer.training.evaluation.model_card import SCORES, card_problem
from sineformer.training.pretrained.card import NOT_EVALUATED, CardError, write_card
from sineformer.training.pretrained.model_folder import folder_problems


@pytest.fixture
def folder(tmp_path: Path, make_model_folder: Callable[..., Path]) -> Path:
    """Return a folder without a card."""
    made = make_model_folder(tmp_path / "model")
    (made / "README.md").unlink()
    return made


def test_a_card_completes_the_folder_and_an_evaluation_can_add_scores(folder: Path) -> None:
    write_card(folder, "user/name", ("fr", "de"))
    assert folder_problems(folder) == []
    assert card_problem(folder) is None
    card = ModelCard.load(folder / "README.md")
    assert (card.data.language, card.data.model_name) == (["fr", "de"], "name")
    assert NOT_EVALUATED in SCORES.findall(card.text)[0]


def test_a_card_has_only_what_is_known(folder: Path) -> None:
    write_card(folder, "user/name", ("fr", "de"))
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "Translates fr to de." in text
    assert "1 encoder and 1 decoder layers, width 16" in text
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Use",
        "## Scores",
        "## Model",
        "## Limits",
    ]
    assert not [word for word in ("{{", "{%", "None", "training_args") if word in text]
    code = text.partition("```python\n")[2].partition("```")[0]
    compile(code, "README.md", "exec")
    assert 'from_pretrained("user/name", trust_remote_code=True)' in code


def test_notes_add_metadata_and_sections(folder: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("---\nlicense: other\ntags: [captions]\n---\n\n## License\n\nSee NOTICE.\n", encoding="utf-8")
    write_card(folder, "user/name", ("de", "fr"), notes)
    card = ModelCard.load(folder / "README.md")
    assert (card.data.license, card.data.tags, card.data.language) == ("other", ["captions"], ["de", "fr"])
    assert card.text.endswith("\n\n## License\n\nSee NOTICE.\n")
    assert "Ein Hund schläft." in card.text
    assert folder_problems(folder) == []
    assert SCORES.sub("", card.text).endswith("See NOTICE.\n"), "an evaluation keeps the notes"


def test_notes_that_cannot_be_read_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.md").write_text("---\na: [\n---\n")
    for name in ("missing.md", "broken.md"):
        with pytest.raises(CardError, match=f"{name} cannot be read as notes for a model card"):
            write_card(folder, "user/name", ("de", "fr"), tmp_path / name)
    assert not (folder / "README.md").exists()


def test_languages_are_those_of_the_record(folder: Path) -> None:
    (folder / "training_args.yaml").write_text("source_language: cs\ntarget_language: uk\n")
    write_card(folder, "user/name")
    assert ModelCard.load(folder / "README.md").data.language == ["cs", "uk"]


def test_unknown_languages_are_asked_for(folder: Path) -> None:
    with pytest.raises(CardError, match="add --languages SOURCE TARGET"):
        write_card(folder, "user/name")
    assert not (folder / "README.md").exists()


def test_a_card_is_not_replaced_and_a_folder_without_a_model_gets_none(folder: Path, tmp_path: Path) -> None:
    (folder / "README.md").write_text("mine")
    with pytest.raises(CardError, match="exists; edit it"):
        write_card(folder, "user/name", ("fr", "de"))
    assert (folder / "README.md").read_text() == "mine"
    with pytest.raises(CardError, match=r"holds no config\.json"):
        write_card(tmp_path, "user/name", ("fr", "de"))
