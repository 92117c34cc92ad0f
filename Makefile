# One environment in .venv, created by the first target that needs it and again when pyproject.toml or constraints.txt
# change.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

# Two workers with one thread each: most tests wait for processes and imports, and more threads would slow each other
# down.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

empty :=
space := $(empty) $(empty)

.PHONY: demo test test-slow test-newest lint types
.DELETE_ON_ERROR:

demo: $(READY)
	@$(BIN)/python scripts/demo.py

test: $(READY)
	@$(PYTEST)

test-slow: $(READY) $(VENV)/slow
	@$(PYTEST) -m slow

# The model tests with the newest releases instead of the pinned ones; run it before a release.
NEWEST := transformers accelerate datasets tokenizers peft

test-newest:
	@echo "Installing into $(VENV)-newest."
	@$(PYTHON) -m venv $(VENV)-newest
	@$(VENV)-newest/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt torch
	@$(VENV)-newest/bin/python -m pip install -qq --disable-pip-version-check -e '.[test]'
	@$(VENV)-newest/bin/python -m pip install -qq --disable-pip-version-check --upgrade $(NEWEST)
	@$(VENV)-newest/bin/python -m pip list --disable-pip-version-check | grep -E "^(torch|$(subst $(space),|,$(NEWEST))) "
	@OMP_NUM_THREADS=1 $(VENV)-newest/bin/python -m pytest -n 2 --dist loadfile tests/modeling

lint: $(READY)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: $(READY)
	@MYPYPATH=$(VENV)/types $(BIN)/mypy --package sineformer

# mypy ignores the import hook of an editable installation, and the root folder may have any name. So mypy finds the
# package through a symbolic link with the right name.
$(READY): pyproject.toml constraints.txt
	@echo "Installing into $(VENV); the first time takes a few minutes."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[train,dev]'
	@mkdir -p $(VENV)/types && ln -sfn ../.. $(VENV)/types/sineformer
	@touch $@

# Optional dependencies of runs, which only the slow tests need.
$(VENV)/slow: $(READY)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[deepspeed,ctranslate2,onnx]' wandb
	@touch $@
