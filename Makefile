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

.PHONY: demo multi30k test test-slow test-newest lint types
.DELETE_ON_ERROR:

demo: $(READY)
	@$(BIN)/python scripts/demo.py

# The model in pretrained/: three stages of training on Multi30k, whose files are in DATA, the third also on its targets
# as a model of the other direction translates them; then weights in half precision, the model card and its scores. What
# has finished is skipped, and what was interrupted is resumed. FLAGS are further flags of all trainings.
SOURCE ?= en
TARGET ?= de
RUNS ?= runs/multi30k-$(SOURCE)-$(TARGET)
RELEASE ?= pretrained/sineformer-tiny-multi30k-$(SOURCE)-$(TARGET)
RECIPES := training/recipes/multi30k
BACK = $(abspath $(RUNS))/train.back.$(SOURCE).gz
files = $(1).$(SOURCE).gz $(1).$(TARGET).gz
reversed = $(1).$(TARGET).gz $(1).$(SOURCE).gz
TRAIN = $(BIN)/python scripts/train.py --data_dir $(DATA) --resume
THERE = $(TRAIN) --source_language $(SOURCE) --target_language $(TARGET) --validation_files $(call files,val)

multi30k: $(READY)
	$(if $(DATA),,$(error Give the folder of the files of Multi30k, task 1: make multi30k DATA=DIR))
	@$(THERE) --config $(RECIPES)/stage1.yaml --train_files $(call files,train) --output_dir $(RUNS)/stage1 $(FLAGS)
	@$(THERE) --config $(RECIPES)/stage2.yaml --train_files $(call files,train) --output_dir $(RUNS)/stage2 \
		--model_name_or_path $(RUNS)/stage1 $(FLAGS)
	@$(TRAIN) --source_language $(TARGET) --target_language $(SOURCE) --validation_files $(call reversed,val) \
		--config $(RECIPES)/half_hour.yaml --train_files $(call reversed,train) --output_dir $(RUNS)/back \
		--test_files $(call reversed,test_2016_flickr) --max_minutes 170 $(FLAGS)
	@test -e $(BACK) || $(BIN)/python scripts/translate.py --model $(RUNS)/back --num_beams 5 --resume \
		--input $(DATA)/train.$(TARGET).gz --output $(BACK)
	@$(THERE) --config $(RECIPES)/stage3.yaml --output_dir $(RUNS)/stage3 --model_name_or_path $(RUNS)/stage2 \
		--train_files $(call files,train) $(call files,train) $(BACK) train.$(TARGET).gz $(FLAGS)
	@test -e $(RELEASE) || $(BIN)/python scripts/release_model.py $(RUNS)/stage3 $(RELEASE) \
		--notes $(RECIPES)/card.md --notice $(RECIPES)/NOTICE
	@$(BIN)/python scripts/evaluate_model.py --model $(RELEASE) --dataset_name Multi30k --output_dir $(RUNS)/report \
		--data $(addprefix $(DATA)/,$(call files,test_2016_flickr)) --update_model_card

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

# Optional dependencies of runs and of the page, which only the slow tests need. Those of the page also drive Chromium,
# if the machine has one.
$(VENV)/slow: $(READY)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt \
		-e '.[app,ctranslate2,deepspeed,onnx]' wandb playwright
	@touch $@
