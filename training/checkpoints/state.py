"""Save and restore the training state. A checkpoint contains everything that the next step depends on:

    config.json, model.safetensors, *.py    the complete model: weights and code (`save_model`)
    adapter/                    the adapters alone, if adapters are trained (learning/adapter.py)
    tokenizer*.json, ...        the tokenizers, which a resumed run loads from here
    training_args.yaml          the settings, which a resumed run must share (resume.py)
    optimizer.safetensors       the moments of Adam
    averages.safetensors        the averages of weights, if there are any (learning/averaging.py)
    random_states.json          the random generators of every process
    trainer_state.json          the position in the data, the schedule, the scores so far, the log, and the origin
    manifest.json               SHA-256 of all these files, written last

Nothing is pickled: reading a checkpoint runs no code. Floats in JSON read back bit for bit.
"""

from __future__ import annotations

import dataclasses
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from safetensors.torch import load_file, save_file

from ..data.tokenizer import Tokenizers
from ..evaluation.scores import Scores
from ..learning.averaging import Averages
from ..learning.learner import Learner
from ..learning.loop import Position
from ..monitoring.run_log import RunLog
from ..settings.arguments import Settings
from ..settings.record import write_settings
from ..system.files import write_folder, write_manifest, writing
from ..system.output_folder import state_folder
from ..system.processes import on_main_process
from ..system.sharding import FullModel, full_tensor, shard_of
from .checkpoint import STATE_FILE, Checkpoint, Origin, load_weights, save_model
from .selection import Best, Selection

OPTIMIZER_FILE = "optimizer.safetensors"
RANDOM_FILE = "random_states.json"
FORMAT = 2  # version of the state; increase it when the content of a checkpoint changes


@dataclass
class TrainingState:
    """The state of a run that changes from step to step.

    Attributes:
        full_model: the model with unsharded weights.
        learner: the optimiser, the schedule and the number of steps done.
        position: in the data.
        averages: of the weights.
        selection: the best model so far.
        log: of the run.
    """

    full_model: FullModel
    learner: Learner
    position: Position
    averages: Averages
    selection: Selection
    log: RunLog

    def save(self, settings: Settings, tokenizers: Tokenizers, origin: Origin) -> None:
        """Write the checkpoint of the steps done and remove those beyond `save_total_limit`; every process calls it.

        Args:
            settings: of the run.
            tokenizers: of the model.
            origin: is compared when a run resumes from this checkpoint.

        Raises:
            CheckpointError: in all processes, if it cannot be written; the checkpoints before it are unchanged.
        """
        accelerator = self.learner.accelerator
        folder = state_folder(settings.run.folder, self.learner.step)
        random_states = gather_object([random_state(accelerator)])
        model, moments = self.full_model.gather(), self._moments()

        def write(aside: Path) -> None:
            save_model(aside, model, tokenizers)
            write_settings(aside, settings)
            save_file(moments, aside / OPTIMIZER_FILE)
            self.averages.save(aside)
            _write_json(aside / RANDOM_FILE, random_states)
            _write_json(aside / STATE_FILE, self._progress() | {"origin": dataclasses.asdict(origin)})
            write_manifest(aside)

        def replace() -> None:
            with writing(f"checkpoint {folder}"):
                write_folder(folder, write)
                self.selection.remove_old()

        on_main_process(accelerator, replace)

    def _moments(self) -> dict[str, torch.Tensor]:
        """Return the unsharded state of the optimiser on the main process, by number of the parameter and name; every
        process calls it."""
        moments = {}
        for index, values in self.learner.optimizer.state_dict()["state"].items():
            for name, value in values.items():
                tensor = full_tensor(value.detach())
                if self.learner.accelerator.is_main_process:
                    moments[f"{index}.{name}"] = tensor.cpu().contiguous()
        return moments

    def _progress(self) -> dict[str, Any]:
        """Return the part of the state that is written as JSON."""
        learner, best = self.learner, self.selection.best
        scaler, skips = learner.accelerator.scaler, learner.skips
        return {
            "format": FORMAT,
            "step": learner.step,
            "position": dataclasses.asdict(self.position),
            "schedule": learner.schedule.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "skips": {"in_a_row": skips.in_a_row, "total": skips.total},
            "parts": learner.accumulation.splits,
            "best": {
                "step": best.step,
                "scores": None if best.scores is None else best.scores.as_record(),
                "evaluations_since": best.evaluations_since,
            },
            "base": None if self.selection.base is None else self.selection.base.as_record(),
            "log": self.log.state(),
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Load a checkpoint; every process calls it. The learner must not have taken a step yet; it may be distributed
        already."""
        folder, state = checkpoint.folder, checkpoint.state
        self.full_model.set_weights(lambda model: load_weights(model, folder))
        self._restore_optimizer(folder, state)
        self.learner.step = state["step"]
        self.learner.skips.in_a_row, self.learner.skips.total = state["skips"]["in_a_row"], state["skips"]["total"]
        self.learner.accumulation.resume(state["parts"])
        for name, value in state["position"].items():
            setattr(self.position, name, value)
        best = state["best"]
        scores = None if best["scores"] is None else Scores.from_record(best["scores"])
        self.selection.best = Best(best["step"], scores=scores, evaluations_since=best["evaluations_since"])
        base = state.get("base")  # a checkpoint of an earlier version has none
        self.selection.base = None if base is None else Scores.from_record(base)
        self.averages.restore(folder)
        self.log.restore(state["log"], state["step"])
        self._restore_random_state(folder)

    def _restore_optimizer(self, folder: Path, state: dict[str, Any]) -> None:
        optimizer, schedule = self.learner.optimizer, self.learner.schedule
        moments: dict[int, dict[str, torch.Tensor]] = {}
        parameters = list(self.learner.model.parameters())
        for key, value in load_file(folder / OPTIMIZER_FILE).items():
            index, _, name = key.partition(".")
            shard = (
                shard_of(value, parameters[int(index)]) if value.ndim else value
            )  # the number of steps is the same in all
            moments.setdefault(int(index), {})[name] = shard.clone()  # the file may be removed
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        schedule.load_state_dict(state["schedule"])
        for group, rate in zip(optimizer.param_groups, schedule.get_last_lr(), strict=True):
            group["lr"] = rate
        if self.learner.accelerator.scaler is not None:
            self.learner.accelerator.scaler.load_state_dict(state["scaler"])

    def _restore_random_state(self, folder: Path) -> None:
        """Restore the random generators of each process. For another number of processes, seed all of them with the
        step instead."""
        accelerator = self.learner.accelerator
        states = json.loads((folder / RANDOM_FILE).read_text(encoding="utf-8"))
        if len(states) == accelerator.num_processes:
            set_random_state(states[accelerator.process_index], accelerator)
        else:
            set_seed(self.learner.step, device_specific=True)


def _write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content) + "\n", encoding="utf-8")


def random_state(accelerator: Accelerator) -> dict[str, Any]:
    """Return the states of the random generators of this process: Python, NumPy, PyTorch and the device."""
    device = accelerator.device.type
    numpy_state: dict[str, Any] = dict(np.random.get_state(legacy=False))
    generator = numpy_state["state"]
    return {
        "python": random.getstate(),
        "numpy": numpy_state | {"state": generator | {"key": generator["key"].tolist()}},
        "torch": torch.get_rng_state().tolist(),
        "device": None if device == "cpu" else torch.get_device_module(device).get_rng_state().tolist(),
    }


def set_random_state(state: dict[str, Any], accelerator: Accelerator) -> None:
    """Set the random generators of this process to the states that `random_state` returned."""
    version, numbers, gauss_next = state["python"]
    random.setstate((version, tuple(numbers), gauss_next))
    numpy_state = state["numpy"]
    key = np.array(numpy_state["state"]["key"], dtype=np.uint32)
    np.random.set_state(numpy_state | {"state": numpy_state["state"] | {"key": key}})
    torch.set_rng_state(torch.tensor(state["torch"], dtype=torch.uint8))
    device = accelerator.device.type
    if device != "cpu" and state["device"] is not None:
        torch.get_device_module(device).set_rng_state(torch.tensor(state["device"], dtype=torch.uint8))
