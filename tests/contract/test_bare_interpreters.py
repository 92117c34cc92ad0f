"""Test that the interpreters of conftest.py have torch and transformers, but not the package and its extras."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sineformer.tests.conftest import BarePython

LOOK_AROUND = """
import importlib.util, json, sys
import torch, transformers
names = ["sineformer", "accelerate", "datasets", "evaluate", "sacrebleu", "tokenizers", "safetensors"]
print(json.dumps({name: importlib.util.find_spec(name) is not None for name in names}))
"""
EXPECTED = {
    "sineformer": False,
    "accelerate": False,
    "datasets": False,
    "evaluate": False,
    "sacrebleu": False,
    "tokenizers": True,
    "safetensors": True,
}


def test_bare_python_has_only_torch_and_transformers(bare_python: BarePython) -> None:
    assert json.loads(bare_python.run(LOOK_AROUND)) == EXPECTED


def test_bare_python_shows_the_error_of_a_failing_program(bare_python: BarePython) -> None:
    with pytest.raises(AssertionError, match="No module named 'sineformer'"):
        bare_python.run("import sineformer")


def test_bare_python_passes_arguments(bare_python: BarePython) -> None:
    assert bare_python.run("import sys; print(sys.argv[1:])", "a", "b c") == "['a', 'b c']\n"


@pytest.mark.slow
def test_fresh_python_has_only_torch_and_transformers(fresh_python: BarePython) -> None:
    assert json.loads(fresh_python.run(LOOK_AROUND)) == EXPECTED
