"""Provide a small model to the tests of the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sineformer.training.page.page_model import PageModel


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, make_model_folder: Callable[..., Path]) -> Path:
    """Return the folder of a small untrained model."""
    return make_model_folder(tmp_path_factory.mktemp("page") / "small")


@pytest.fixture(scope="session")
def page_model(model_folder: Path) -> PageModel:
    """Return that model, loaded for the page."""
    return PageModel(str(model_folder))
