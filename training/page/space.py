"""Write a Space for the Hub that shows the page with one model."""

from __future__ import annotations

import os
import shutil
import sys
from importlib import metadata
from pathlib import Path

from huggingface_hub import SpaceCard, SpaceCardData
from packaging.requirements import Requirement

from ..pretrained.loading import CONFIG, PretrainedError, find_model
from ..pretrained.publishing import Destination, name_problems
from ..system.files import folder_problem, write_folder
from ..system.output_folder import CARD

PACKAGE = "sineformer"
SOURCES = ("configuration", "modeling", "training")
ROOT_FILES = ("__init__.py", "model_card.md")
EXTRA, SDK = "app", "gradio"
APP = '''"""Show a Sineformer in the browser."""

from sineformer.training.page.application import launch_options, make_page
from sineformer.training.page.page_model import PageModel

page = make_page(PageModel({model!r}), may_load=False)

if __name__ == "__main__":
    page.launch(**launch_options())
'''
TEXT = """
# {title}

Translate with {model}, and see its attention, the probabilities of its tokens and its positions. If the model is
private, add a token that may read it to the secrets of this Space, as `HF_TOKEN`.
"""


class SpaceError(ValueError):
    """Raised if a Space cannot be written; the message gives the reason and the fix."""


def write_space(folder: Path, model: str) -> None:
    """Write a Space that needs nothing but its own files and what pip and the Hub provide.

    It has its card, `app.py`, `requirements.txt` and the code of this package, because Spaces install packages from
    registries only.

    Args:
        folder: new or empty.
        model: its id on the Hub.

    Raises:
        SpaceError: there is no such model on the Hub, or the folder cannot be written.
    """
    _check(folder, model)

    def write(aside: Path) -> None:
        (aside / CARD).write_text(str(_card(model)), encoding="utf-8")
        (aside / "app.py").write_text(APP.format(model=model), encoding="utf-8")
        (aside / "requirements.txt").write_text("\n".join([*_requirements(), ""]), encoding="utf-8")
        _copy_package(aside)

    try:
        write_folder(folder, write)
    except OSError as error:
        raise SpaceError(f"{folder} cannot be written: {error.strerror or error}; name another folder") from error


def _check(folder: Path, model: str) -> None:
    if os.path.isdir(model):
        raise SpaceError(f"{model} is a folder of this machine; publish it with sineformer-push, and give its id")
    if problems := name_problems(Destination(model)):
        raise SpaceError("; ".join(problems))
    if folder.is_dir() and any(folder.iterdir()):
        raise SpaceError(f"{folder} is not empty; name a new folder")
    if problem := folder_problem(folder):
        raise SpaceError(problem)
    try:
        find_model(model, files=[CONFIG])
    except PretrainedError as error:
        raise SpaceError(str(error)) from error


def _card(model: str) -> SpaceCard:
    """Return the card, whose metadata tell the Hub how to run the Space."""
    title = model.rpartition("/")[2]
    data = SpaceCardData(
        title=title,
        sdk=SDK,
        sdk_version=metadata.version(SDK),
        python_version=f"{sys.version_info.major}.{sys.version_info.minor}",
        app_file="app.py",
        license="apache-2.0",
        models=[model],
        short_description="See the attention of a Transformer that translates",
        emoji="\N{LEFT-POINTING MAGNIFYING GLASS}",
        colorFrom="blue",
        colorTo="indigo",
    )
    return SpaceCard(f"---\n{data.to_yaml()}\n---\n{TEXT.format(title=title, model=model)}")


def _requirements() -> list[str]:
    """Return what the page needs besides Gradio, which the Hub installs in the version of the card."""
    found = [Requirement(line) for line in metadata.requires(PACKAGE) or []]
    needed = [each for each in found if each.marker is None or each.marker.evaluate({"extra": EXTRA})]
    return [f"{each.name}{each.specifier}" for each in needed if each.name not in (SDK, PACKAGE)]


def _copy_package(folder: Path) -> None:
    """Copy the package, with the record of its version, as an installation has it."""
    root, version = Path(__file__).parents[2], metadata.version(PACKAGE)
    for name in SOURCES:
        shutil.copytree(root / name, folder / PACKAGE / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ROOT_FILES:
        shutil.copyfile(root / name, folder / PACKAGE / name)
    record = folder / f"{PACKAGE}-{version}.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {version}\n", encoding="utf-8")
