"""Shard gradients and the moments of Adam over the processes with DeepSpeed (ZeRO stage 2; Rajbhandari et al., 2020,
section 5.2).

    backward --sum over micro-batches and processes--> gradient shards --> Adam on shards --> full weights

Every process has the full weights, in fp32 as under DistributedDataParallel, so code that reads them needs no change.
Adam has a copy of the weights that it updates: call `load_state_dict` after setting weights. bf16 is autocast in
training; validation, which takes the model itself, is in fp32.

By default, DeepSpeed counts micro-batches, clips the gradient (at 1 if nothing is set) and takes steps, and Accelerate
has it do so within `backward`. The training loop decides all that, from the loss and gradient of all processes; so the
accelerator and the optimiser here do only what they are called for.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DeepSpeedPlugin, DistributedType

from .sharding import force_distributed_type

_MOMENTS = ("exp_avg", "exp_avg_sq")


def zero_plugin(mixed_precision: str) -> DeepSpeedPlugin:
    """Return the configuration of DeepSpeed. All that could change the result is off: the recipe decides it."""
    plugin = DeepSpeedPlugin(zero_stage=2)
    plugin.deepspeed_config |= {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 0.0,
        "zero_allow_untested_optimizer": True,
        "fp16": {"enabled": False},
        "bf16": {"enabled": False},
        "torch_autocast": {
            "enabled": mixed_precision == "bf16",
            "dtype": "bfloat16",
            "lower_precision_safe_modules": [],  # their gradients would be summed in bf16
        },
        # Elements reduced at once; a backward pass needs additional memory for them, in fp32.
        "zero_optimization": {"stage": 2, "reduce_bucket_size": 2**25},
    }
    return plugin


class ZeroAccelerator(Accelerator):
    """An accelerator with sharded gradients and moments of Adam.

    Args:
        mixed_precision: "no" or "bf16".
        options: of `Accelerator`.
    """

    def __init__(self, mixed_precision: str, **options: Any) -> None:
        if options["cpu"]:
            os.environ["DS_ACCELERATOR"] = "cpu"
        import deepspeed

        logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", "`torch.distributed.", FutureWarning)  # from calls of DeepSpeed
        deepspeed.ops.__compatible_ops__ = {}  # on a CPU it would compile an unused one, for minutes
        plugin = zero_plugin(mixed_precision)
        super().__init__(mixed_precision="no", deepspeed_plugin=plugin, **options)
        if self.distributed_type == DistributedType.MULTI_CPU:
            force_distributed_type(self, DistributedType.DEEPSPEED)
            self.state.deepspeed_plugins = plugin
        self.engine: Any = None

    def prepare(self, model: Any, optimizer: torch.optim.Optimizer) -> tuple[Any, ZeroOptimizer]:
        """Return the engine, which computes the model, and its optimiser."""
        self.engine, _ = super().prepare(model, optimizer)
        return self.engine, ZeroOptimizer(self.engine)

    @contextlib.contextmanager
    def no_sync(self, model: Any) -> Iterator[None]:
        """Mark micro-batches that are not the last of their step. DeepSpeed reduces over processes all the same."""
        self.engine.set_gradient_accumulation_boundary(False)
        try:
            yield
        finally:
            self.engine.set_gradient_accumulation_boundary(True)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of a micro-batch, averaged over processes, to the shards; take no step."""
        self.engine.backward(loss)

    def clip_grad_norm_(self, parameters: Iterable[torch.Tensor], max_norm: float) -> torch.Tensor:
        """Clip the full gradient as `torch.nn.utils.clip_grad_norm_` does; return its norm before."""
        shards = [shard for group in self.engine.optimizer.averaged_gradients.values() for shard in group]
        norm = self.reduce(torch.nn.utils.get_total_norm(shards).square(), reduction="sum").sqrt()
        torch._foreach_mul_(shards, (max_norm / (norm + 1e-6)).clamp(max=1.0))
        return norm


class ZeroOptimizer:
    """Adam on shards, with the state dict of Adam on full weights.

    Args:
        engine: of DeepSpeed.
    """

    def __init__(self, engine: Any) -> None:
        self.engine, self.shards = engine, engine.optimizer
        self.adam: torch.optim.Optimizer = engine.optimizer.optimizer

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Return those of Adam, whose weights are the shards."""
        return self.adam.param_groups

    def step(self) -> None:
        """Update the weights."""
        self.engine.step()

    def zero_grad(self) -> None:
        """Clear the gradients, also those that no `step` has used, as DeepSpeed does after an overflow."""
        self.shards.zero_grad()
        for gradients in (self.shards.averaged_gradients, self.shards.all_grad_tensors):
            gradients.update(dict.fromkeys(gradients))

    def state_dict(self) -> dict[str, Any]:
        """Return the unsharded moments, by number of the weight, in the main process; every process calls it."""
        from deepspeed.utils import safe_get_full_optimizer_state

        is_main = torch.distributed.get_rank() == 0
        moments: dict[int, dict[str, torch.Tensor]] = {}
        states = list(self.adam.state.values())
        weights = [(index, each) for index, each in enumerate(self.engine.parameters()) if each.requires_grad]
        for (index, weight), name in itertools.product(weights if states else (), _MOMENTS):
            # One at a time: all together may not fit into the memory of the device.
            moment = safe_get_full_optimizer_state(weight, name)
            if is_main:
                moments.setdefault(index, {"step": states[0]["step"].clone()})[name] = moment.cpu()
        return {"state": moments, "param_groups": self.adam.state_dict()["param_groups"]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load unsharded moments, equal in all processes, and take over the current weights; call it before the first
        step."""
        from deepspeed.utils import safe_set_full_optimizer_state

        self.shards.refresh_fp32_params()
        if not state["state"]:
            return
        (weights,) = self.param_groups[0]["params"]
        fresh = {name: torch.zeros_like(weights) for name in _MOMENTS}
        fresh["step"] = next(iter(state["state"].values()))["step"]
        self.adam.load_state_dict({"state": {0: fresh}, "param_groups": self.adam.state_dict()["param_groups"]})
        self.shards._lazy_init_hp_params_optimizer_state()
        for index, weight in enumerate(self.engine.parameters()):
            for name in _MOMENTS if weight.requires_grad else ():
                safe_set_full_optimizer_state(weight, state["state"][index][name], name)
