"""Test memory shortages within a step."""

import contextlib
import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sineformer.training.data.batching import MicroBatch
from sineformer.training.learning.accumulation import Accumulation, MemoryShortageError
from sineformer.training.learning.learner import Learner
from sineformer.training.learning.loop import Limits


def limit_memory(learner: Learner, positions: int, message: str | None = None) -> None:
    """Have the device run out of memory on larger micro-batches, after it has computed their gradients."""
    add_gradient = learner.add_gradient

    def add_gradient_in_little_memory(batch: MicroBatch, target_tokens: int) -> torch.Tensor:
        loss = add_gradient(batch, target_tokens)
        if batch.inputs["input_ids"].numel() > positions:
            raise torch.OutOfMemoryError("CUDA out of memory.") if message is None else RuntimeError(message)
        return loss

    learner.add_gradient = add_gradient_in_little_memory  # type: ignore[method-assign]


def test_a_micro_batch_is_split_nearly_equally_between_examples() -> None:
    inputs = {"input_ids": torch.arange(10).view(5, 2), "labels": torch.arange(15).view(5, 3)}
    batch = MicroBatch([7, 3, 9, 4, 0], inputs)
    parts = batch.split(4)
    assert [part.examples for part in parts] == [[7, 3], [9], [4], [0]]
    for name, whole in inputs.items():
        assert torch.equal(torch.cat([part.inputs[name] for part in parts]), whole)
    assert [part.examples for part in batch.split(8)] == [[7], [3], [9], [4], [0]]


def test_a_step_out_of_memory_and_later_ones_equal_those_of_smaller_batches(
    small_model: Any, make_learner: Any, make_batches: Any, take_step: Any
) -> None:
    outcomes = []
    batches = make_batches([2, 8])
    positions = batches[1].inputs["input_ids"].numel()
    for memory, parts in ((positions - 1, 1), (positions, 2)):
        model = copy.deepcopy(small_model)
        learner = make_learner(model, label_smoothing=0.1)
        limit_memory(learner, memory)
        learner.accumulation.splits = parts
        reports = [take_step(learner, batches) for _ in range(3)]
        outcomes.append(([(each.loss, each.gradient_norm) for each in reports], model.state_dict()))
        assert [each.parts for each in reports] == ([2, None, None] if parts == 1 else [None] * 3)
    (numbers, weights), (expected_numbers, expected_weights) = outcomes
    assert numbers == expected_numbers
    assert all(torch.equal(value, expected_weights[name]) for name, value in weights.items())


def test_splits_get_smaller_until_they_fit(
    small_model: Any, make_learner: Any, make_batches: Any, take_step: Any
) -> None:
    batches = make_batches([8])
    reports = []
    for memory in (batches[0].inputs["input_ids"].numel() // 4, 10**6):
        learner = make_learner(copy.deepcopy(small_model))
        limit_memory(learner, memory)
        reports.append(take_step(learner, batches))
    assert reports[0].parts == 4
    assert reports[1].parts is None
    assert reports[0].loss == pytest.approx(reports[1].loss, rel=1e-6)
    assert reports[0].gradient_norm == pytest.approx(reports[1].gradient_norm, rel=1e-5)


def test_an_example_that_does_not_fit_alone_is_named_with_what_may_help(
    small_model: Any, make_learner: Any, make_batches: Any, take_step: Any
) -> None:
    learner = make_learner(small_model, name_example=lambda index: f"train.en:{index + 1}")
    limit_memory(learner, 0)
    expected = r"on a single example, train\.en:1: 1 x \d+ source and 1 x \d+ target positions\. A lower max_length"
    with pytest.raises(MemoryShortageError, match=expected):
        take_step(learner, make_batches([4]))


@pytest.mark.parametrize(
    "message", ["CUDA out of memory. Tried to allocate 2 GiB", "MPS backend out of memory (20 GB)"]
)
def test_memory_shortages_are_also_recognised_by_their_message(
    small_model: Any, make_learner: Any, make_batches: Any, take_step: Any, message: str
) -> None:
    batches = make_batches([4])
    learner = make_learner(small_model)
    limit_memory(learner, batches[0].inputs["input_ids"].numel() - 1, message)
    assert take_step(learner, batches).parts == 2


def test_other_errors_pass(small_model: Any, make_learner: Any, make_batches: Any, take_step: Any) -> None:
    learner = make_learner(small_model)
    limit_memory(learner, 0, "the size of tensor a must match")
    with pytest.raises(RuntimeError, match="the size of tensor a must match"):
        take_step(learner, make_batches([4]))


def test_the_log_says_from_which_step_on_batches_are_split(
    tmp_path: Path, small_model: Any, make_trainer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = make_trainer(small_model, Limits(max_steps=3))
    limit_memory(trainer.learner, 100)
    trainer.run(lambda step: True)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    shortages = [(line["step"], line["parts"]) for line in lines if line["kind"] == "out_of_memory"]
    assert shortages[0][0] == 1, "a batch has up to 200 positions"
    assert shortages[-1][1] == trainer.learner.accumulation.splits
    shown = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert shown == [
        f"warning: step {step} ran out of memory; from now on every batch is split into {parts} micro-batches, with "
        "the same result"
        for step, parts in shortages
    ]


class TwoProcesses:
    """A substitute for Accelerate, as seen by the second of two processes, without waiting for the other."""

    num_processes, process_index = 2, 1
    device = torch.device("cpu")

    def no_sync(self, model: Any) -> Any:
        return contextlib.nullcontext()


def test_where_other_processes_wait_the_error_says_how_to_continue() -> None:
    def add_gradient(batch: MicroBatch, target_tokens: int) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    accumulation = Accumulation(TwoProcesses(), torch.nn.Linear(1, 1), str)  # type: ignore[arg-type]
    batch = MicroBatch([0, 1], {"input_ids": torch.ones(2, 5), "labels": torch.ones(2, 7)})
    with pytest.raises(
        MemoryShortageError, match=r"^process 1 is out of memory on 2 x 5 source and 2 x 7 target .* --resume"
    ):
        accumulation.add_gradients(add_gradient, [batch], 14)


@pytest.mark.slow
def test_two_processes_skip_and_retry_together_when_one_of_them_fails(tmp_path: Path) -> None:
    program = str(Path(__file__).with_name("faulty_steps.py"))
    settings = str(Path(__file__).parents[3] / "training" / "accelerate" / "multi_cpu.yaml")
    launch = ["-m", "accelerate.commands.launch", "--config_file", settings]
    outcomes = []
    for name, launcher in (("one", []), ("two", launch)):
        command = [sys.executable, *launcher, program, str(tmp_path / name)]
        done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        outcomes.append(json.loads((tmp_path / name).read_text()))
    one, two = outcomes
    for alone, together in zip(one["steps"], two["steps"], strict=True):
        assert together[2:] == alone[2:]
        assert together[:2] == pytest.approx(alone[:2], abs=1e-5, nan_ok=True)
    assert [bool(skipped) for _, _, skipped, _ in two["steps"]] == [False, True, False, False, False]
    assert two["steps"][1][2][2] == ["2", "3", "4", "5"], "the examples of the batch that only one process has"
    assert [parts for *_, parts in two["steps"]] == [None, None, 2, None, None]
    assert two["sums"] == pytest.approx(one["sums"], rel=1e-5)
    # In steps 1 and 2 no size is known to fit beside the moments of Adam. Step 3 begins apart too, since its batch is
    # larger. Its parts are as large as what fitted: from there on, gradients are added up while they are computed.
    assert two["added_up"] == [1, 2]
