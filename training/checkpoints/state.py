"""What a checkpoint holds beside the model: all that the next step depends on.

    optimizer.safetensors   the moments of Adam
    random_states.json      the random generators of every process
    trainer_state.json      the position in the data, the schedule, the scores so far, the log, and what all that is of

Nothing is pickled: reading a checkpoint runs no code. Floats in JSON are written so that they read back bit for bit.
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
from accelerate.utils import set_seed
from safetensors.torch import load_file, save_file

from ..evaluation.scores import Scores
from ..learning.loop import Learner, Position
from ..monitoring.run_log import RunLog
from ..system.sharding import WholeModel, share_of, whole
from .checkpoint import BestCheckpoint, best_name, load_weights

OPTIMIZER_FILE = "optimizer.safetensors"
RANDOM_FILE = "random_states.json"
STATE_FILE = "trainer_state.json"
FORMAT = 2  # of the state; to be raised with what a checkpoint holds


@dataclass
class TrainingState:
    """The parts of a run that change from step to step.

    Attributes:
        whole: the model with all its weights.
        learner: the optimiser, the schedule and the number of steps done.
        position: in the data.
        best: the best model so far.
        log: of the run.
    """

    whole: WholeModel
    learner: Learner
    position: Position
    best: BestCheckpoint
    log: RunLog

    def moments(self) -> dict[str, torch.Tensor]:
        """The state of the optimiser, by number of the parameter and name, for the main process; every process calls
        it."""
        moments = {}
        for index, values in self.learner.optimizer.state_dict()["state"].items():
            for name, value in values.items():
                tensor = whole(value.detach())
                if self.learner.accelerator.is_main_process:
                    moments[f"{index}.{name}"] = tensor.cpu().contiguous()
        return moments

    def save(
        self,
        folder: Path,
        moments: dict[str, torch.Tensor],
        random_states: list[dict[str, Any]],
        origin: dict[str, Any],
    ) -> None:
        """Write everything but the model into `folder`.

        Args:
            folder: of the checkpoint.
            moments: `moments()`.
            random_states: `random_state()` of every process.
            origin: what the checkpoint is of, to be compared by who goes on from it.
        """
        _write_json(folder / RANDOM_FILE, random_states)
        save_file(moments, folder / OPTIMIZER_FILE)
        scaler, best, skips = self.learner.accelerator.scaler, self.best, self.learner.skips
        state = {
            "format": FORMAT,
            "step": self.learner.step,
            "position": dataclasses.asdict(self.position),
            "schedule": self.learner.schedule.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "skips": {"in_a_row": skips.in_a_row, "total": skips.total},
            "parts": self.learner.accumulation.parts,
            "best": {
                "step": best.step,
                "scores": None if best.scores is None else best.scores.as_record(),
                "evaluations_since": best.evaluations_since,
            },
            "log": self.log.state(),
            "origin": origin,
        }
        _write_json(folder / STATE_FILE, state)

    def restore(self, folder: Path) -> None:
        """Go on from a checkpoint, in every process alike; all parts have to be as new, except that they may be
        prepared for several processes."""
        state = read_state(folder)
        self.whole.set_weights(lambda model: load_weights(model, folder))
        self._restore_optimizer(folder, state)
        self.learner.step = state["step"]
        self.learner.skips.in_a_row, self.learner.skips.total = state["skips"]["in_a_row"], state["skips"]["total"]
        self.learner.accumulation.go_on_with(state["parts"])
        for name, value in state["position"].items():
            setattr(self.position, name, value)
        best = state["best"]
        self.best.step, self.best.evaluations_since = best["step"], best["evaluations_since"]
        self.best.scores = None if best["scores"] is None else Scores.from_record(best["scores"])
        self.log.restore(state["log"], state["step"])
        self._restore_random_state(folder)

    def _restore_optimizer(self, folder: Path, state: dict[str, Any]) -> None:
        optimizer, schedule = self.learner.optimizer, self.learner.schedule
        moments: dict[int, dict[str, torch.Tensor]] = {}
        parameters = list(self.learner.model.parameters())
        for key, value in load_file(folder / OPTIMIZER_FILE).items():
            index, _, name = key.partition(".")
            share = share_of(value, parameters[int(index)]) if value.ndim else value  # all count the same steps
            moments.setdefault(int(index), {})[name] = share.clone()  # the file may go away
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        schedule.load_state_dict(state["schedule"])
        for group, rate in zip(optimizer.param_groups, schedule.get_last_lr(), strict=True):
            group["lr"] = rate
        if self.learner.accelerator.scaler is not None:
            self.learner.accelerator.scaler.load_state_dict(state["scaler"])

    def _restore_random_state(self, folder: Path) -> None:
        """Each process goes on with the generators that it had. Where there was another number of processes, none of
        the former generators fits, and all begin anew from the seed of the step."""
        accelerator = self.learner.accelerator
        states = json.loads((folder / RANDOM_FILE).read_text(encoding="utf-8"))
        if len(states) == accelerator.num_processes:
            set_random_state(states[accelerator.process_index], accelerator)
        else:
            set_seed(self.learner.step, device_specific=True)


def read_state(folder: Path) -> dict[str, Any]:
    """What `TrainingState.save` wrote as JSON."""
    state: dict[str, Any] = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    return state


def best_name_of(folder: Path) -> str | None:
    """The folder name of the best model as of a checkpoint; None for a damaged one, which nothing goes on from."""
    try:
        return best_name(read_state(folder)["best"]["step"])
    except (OSError, ValueError, KeyError):
        return None


def _write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content) + "\n", encoding="utf-8")


def random_state(accelerator: Accelerator) -> dict[str, Any]:
    """The generators of this process: Python's, NumPy's, PyTorch's, and that of its device."""
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
    """Set the generators of this process to what `random_state` gave."""
    version, numbers, gauss_next = state["python"]
    random.setstate((version, tuple(numbers), gauss_next))
    numpy_state = state["numpy"]
    key = np.array(numpy_state["state"]["key"], dtype=np.uint32)
    np.random.set_state(numpy_state | {"state": numpy_state["state"] | {"key": key}})
    torch.set_rng_state(torch.tensor(state["torch"], dtype=torch.uint8))
    device = accelerator.device.type
    if device != "cpu" and state["device"] is not None:
        torch.get_device_module(device).set_rng_state(torch.tensor(state["device"], dtype=torch.uint8))
