"""Test `Seq2SeqTrainer`: steps independent of the split of a batch, evaluation, checkpoints, resuming.

    python test_trainer.py MODEL_FOLDER LABEL_SMOOTHING RESULT

takes one step, also in several processes by `accelerate launch`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from accelerate.state import AcceleratorState
from torch.nn.functional import cross_entropy
from transformers import AutoModelForSeq2SeqLM, PreTrainedModel, Seq2SeqTrainer, Seq2SeqTrainingArguments
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.trainer_utils import EvalPrediction

from sineformer.modeling.code_files import CODE_FILES
from sineformer.training.data.bpe import train_tokenizer

if TYPE_CHECKING:
    from sineformer.tests.conftest import BarePython

TWO_PROCESSES = Path(__file__).parents[2] / "training" / "accelerate" / "multi_cpu.yaml"
Rows = list[dict[str, list[int]]]
Change = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def own_precision() -> Iterator[None]:
    """Reset the state of Accelerate, which keeps the precision of the first trainer of a process."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def eight_pairs() -> Rows:
    """Return eight pairs of different lengths: 3 to 17 tokens in the source, 1 to 22 in the target."""
    generator = torch.Generator().manual_seed(3)
    rows = []
    for index in range(8):
        source = torch.randint(4, 97, (3 + 2 * index,), generator=generator).tolist()
        target = torch.randint(4, 97, (1 + 3 * (index * 5 % 8),), generator=generator).tolist()
        rows.append({"input_ids": source, "attention_mask": [1] * len(source), "labels": target})
    return rows


class Collate:
    """Pad on the right, as `DataCollatorForSeq2Seq(tokenizer, model)` does, without a tokenizer."""

    def __init__(self, model: PreTrainedModel):
        self.model: Any = model

    def __call__(self, rows: Rows) -> dict[str, torch.Tensor]:
        batch = {}
        for name, padding in (("input_ids", 0), ("attention_mask", 0), ("labels", -100)):
            width = max(len(row[name]) for row in rows)
            batch[name] = torch.tensor([row[name] + [padding] * (width - len(row[name])) for row in rows])
        batch["decoder_input_ids"] = self.model.prepare_decoder_input_ids_from_labels(labels=batch["labels"])
        return batch


def make_trainer(model: PreTrainedModel, output_dir: Path | str, **settings: Any) -> Seq2SeqTrainer:
    others = {name: settings.pop(name) for name in ("processing_class", "compute_metrics") if name in settings}
    defaults = {"save_strategy": "no", "report_to": [], "use_cpu": True, "disable_tqdm": True, "logging_steps": 1}
    arguments = Seq2SeqTrainingArguments(str(output_dir), **{**defaults, **settings})
    rows = eight_pairs()
    return Seq2SeqTrainer(
        model=model, args=arguments, train_dataset=rows, eval_dataset=rows, data_collator=Collate(model), **others
    )


def one_step(model: PreTrainedModel, batch_size: int, accumulation: int, smoothing: float) -> Change:
    """Take one step of gradient descent on the eight pairs, with learning rate 1; return the change of every weight."""
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    trainer = make_trainer(
        model,
        tempfile.mkdtemp(),
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        label_smoothing_factor=smoothing,
        max_steps=1,
        optim="sgd",
        learning_rate=1.0,
        lr_scheduler_type="constant",
        max_grad_norm=0,
    )
    trainer.train()
    return {name: parameter.detach().cpu() - before[name] for name, parameter in model.named_parameters()}


def assert_same(change: Change, expected: Change) -> None:
    assert change.keys() == expected.keys()
    size = torch.cat([each.flatten() for each in expected.values()]).norm()
    difference = torch.cat([(change[name] - expected[name]).flatten() for name in expected]).norm()
    assert difference / size < 1e-6


@pytest.fixture(params=["package", "remote code"])
def load(request: pytest.FixtureRequest, make_model, tmp_path) -> Any:
    """Return a function that loads the same small model, with the class of the package or of the saved code."""
    make_model().save_pretrained(tmp_path / "model")
    if request.param == "package":
        return lambda: AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model")
    name = "modeling_sineformer.SineformerForConditionalGeneration"
    remote = get_class_from_dynamic_module(name, str(tmp_path / "model"))
    assert remote.__module__.startswith("transformers_modules.")
    return lambda: remote.from_pretrained(tmp_path / "model")


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_one_step_does_not_depend_on_the_split_of_the_batch(load, smoothing: float) -> None:
    whole = one_step(load(), 8, 1, smoothing)
    model = load()
    batch = Collate(model)(eight_pairs())
    labels = batch.pop("labels")
    logits = model.eval()(**batch).logits
    cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=smoothing).backward()
    assert_same(whole, {name: -parameter.grad for name, parameter in model.named_parameters()})
    for batch_size, accumulation in ((2, 4), (1, 8)):
        assert_same(one_step(load(), batch_size, accumulation, smoothing), whole)


@pytest.mark.slow
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_two_processes_take_the_same_step_as_one(load, tmp_path, smoothing: float) -> None:
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(TWO_PROCESSES)]
    program = [__file__, str(tmp_path / "model"), str(smoothing), str(tmp_path / "change.pt")]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, *program], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert_same(torch.load(tmp_path / "change.pt"), one_step(load(), 8, 1, smoothing))


def test_evaluation_in_batches_generates_the_same_as_single_sentences(load, tmp_path) -> None:
    model = load()
    seen: dict[str, Any] = {}

    def keep(prediction: EvalPrediction) -> dict[str, float]:
        seen["predictions"] = prediction.predictions
        return {}

    settings = {"per_device_eval_batch_size": 2, "predict_with_generate": True, "generation_max_length": 12}
    trainer = make_trainer(model, tmp_path / "out", compute_metrics=keep, generation_num_beams=2, **settings)
    loss = trainer.evaluate()["eval_loss"]
    rows = eight_pairs()
    for row, found in zip(rows, seen["predictions"], strict=True):
        alone = model.generate(torch.tensor([row["input_ids"]]), num_beams=2, max_length=12)[0].tolist()
        assert found[: len(alone)].tolist() == alone
        assert set(found[len(alone) :].tolist()) <= {0, -100}
    # The trainer's loss is the mean over batches.
    batches = [Collate(model)(rows[start : start + 2]) for start in range(0, 8, 2)]
    assert loss == pytest.approx(sum(model(**batch).loss.item() for batch in batches) / 4, rel=1e-5)


def test_the_loss_of_an_evaluation_in_one_batch_is_the_mean_over_its_tokens(load, tmp_path) -> None:
    model = load()
    batch = Collate(model)(eight_pairs())
    labels = batch.pop("labels")
    for smoothing in (0.0, 0.1):
        trainer = make_trainer(model, tmp_path, per_device_eval_batch_size=8, label_smoothing_factor=smoothing)
        expected = cross_entropy(model(**batch).logits.flatten(0, 1), labels.flatten(), label_smoothing=smoothing)
        assert trainer.evaluate()["eval_loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_a_resumed_run_equals_an_uninterrupted_one(make_model, tmp_path) -> None:
    settings = {"per_device_train_batch_size": 2, "max_steps": 6, "save_strategy": "steps", "save_steps": 3}
    through = make_model(dropout=0.1)
    make_trainer(through, tmp_path / "through", **settings).train()
    resumed = make_model(dropout=0.1)
    make_trainer(resumed, tmp_path / "resumed", **settings).train(str(tmp_path / "through" / "checkpoint-3"))
    for name, parameter in through.named_parameters():
        assert torch.equal(resumed.get_parameter(name), parameter), name


def test_training_in_bf16_stays_close_to_fp32(load, tmp_path) -> None:
    losses = []
    for bf16 in (False, True):
        settings = {"per_device_train_batch_size": 8, "max_steps": 5, "learning_rate": 1e-2}
        trainer = make_trainer(load(), tmp_path / "out", bf16=bf16, **settings)
        trainer.train()
        losses.append([each["loss"] for each in trainer.state.log_history if "loss" in each])
    assert losses[0][-1] < losses[0][0] - 0.5
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


LOAD_AND_SAVE = """
import json, sys, torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
folder, copy, results = sys.argv[1:]
model = AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=True).eval()
assert type(model).__module__.startswith("transformers_modules."), type(model)
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
ids = torch.arange(4, 20).reshape(2, 8)
torch.save((tokenizer("the dog")["input_ids"], model(input_ids=ids, decoder_input_ids=ids).logits), results)
model.save_pretrained(copy)
tokenizer.save_pretrained(copy)
"""


@pytest.mark.slow
@pytest.mark.parametrize("saved", ["checkpoint-2", "."])
def test_a_folder_saved_by_the_trainer_is_complete(load, tmp_path, bare_python: BarePython, saved: str) -> None:
    tokenizer = train_tokenizer(["the dog sleeps", "der Hund schläft"], vocab_size=290)
    settings = {"max_steps": 2, "save_strategy": "steps", "save_steps": 2, "processing_class": tokenizer}
    model = load()
    trainer = make_trainer(model, tmp_path / "out", **settings)
    trainer.train()
    trainer.save_model()
    ids = torch.arange(4, 20).reshape(2, 8)
    expected = model.eval()(input_ids=ids, decoder_input_ids=ids).logits
    folder = tmp_path / "out" / saved
    needed = {*CODE_FILES, "config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}
    for copy in ("first", "second"):
        assert {path.name for path in folder.iterdir()} >= needed
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        assert set(config["auto_map"]) == {"AutoConfig", "AutoModel", "AutoModelForSeq2SeqLM"}
        assert "translation" in config["custom_pipelines"]
        bare_python.run(LOAD_AND_SAVE, folder, tmp_path / copy, tmp_path / "results.pt")
        found_ids, logits = torch.load(tmp_path / "results.pt")
        assert found_ids == tokenizer("the dog")["input_ids"]
        assert torch.equal(logits, expected)
        folder = tmp_path / copy


def main() -> None:
    """Take a step; the first process writes the change of the weights."""
    folder, smoothing, result = sys.argv[1:]
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=True)
    world_size = int(os.environ["WORLD_SIZE"])
    change = one_step(model, 8 // world_size, 1, float(smoothing))
    if os.environ["RANK"] == "0":
        torch.save(change, result)


if __name__ == "__main__":
    main()
