"""Gradients and the moments of Adam in shares, one for each process, by DeepSpeed (ZeRO stage 2; Rajbhandari et al.,
2020, section 5.2).

    backward --adds up over micro-batches and processes--> shares of the gradient --> Adam on shares --> whole weights

Every process has the whole weights, in fp32 as under DistributedDataParallel, so whoever reads them need not know of
shares. Adam has a copy of those that it updates: whoever sets weights has to go on with `load_state_dict`. bf16 is
autocast in training; validation, which takes the model itself, is in fp32.

Left alone, DeepSpeed would count micro-batches, clip the gradient (at 1, where nothing is said) and take steps, and
Accelerate would have it do so within `backward`. A run decides all that itself, after it has seen loss and gradient of
all processes; here it gets an accelerator and an optimiser that do what they are asked, and nothing else.
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

from .sharding import insist_on

_MOMENTS = ("exp_avg", "exp_avg_sq")


def zero_plugin(mixed_precision: str) -> DeepSpeedPlugin:
    """All that DeepSpeed is told. Whatever could change what is learnt is off here, for the recipe has it."""
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
            "lower_precision_safe_modules": [],  # whose gradients would be added up in bf16
        },
        # Elements that are added up at once; they take this much memory more, in fp32, during a backward pass.
        "zero_optimization": {"stage": 2, "reduce_bucket_size": 2**25},
    }
    return plugin


class ZeroAccelerator(Accelerator):
    """An accelerator whose gradients and moments of Adam are in shares.

    Args:
        mixed_precision: "no" or "bf16".
        options: of `Accelerator`.
    """

    def __init__(self, mixed_precision: str, **options: Any) -> None:
        if options["cpu"]:
            os.environ["DS_ACCELERATOR"] = "cpu"
        import deepspeed

        logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", "`torch.distributed.", FutureWarning)  # of what DeepSpeed calls
        deepspeed.ops.__compatible_ops__ = {}  # on a CPU it would compile one, for minutes, that nothing here uses
        plugin = zero_plugin(mixed_precision)
        super().__init__(mixed_precision="no", deepspeed_plugin=plugin, **options)
        if self.distributed_type == DistributedType.MULTI_CPU:
            insist_on(self, DistributedType.DEEPSPEED)
            self.state.deepspeed_plugins = plugin
        self.engine: Any = None

    def prepare(self, model: Any, optimizer: torch.optim.Optimizer) -> tuple[Any, ZeroOptimizer]:
        """What computes the model, and what updates it."""
        self.engine, _ = super().prepare(model, optimizer)
        return self.engine, ZeroOptimizer(self.engine)

    @contextlib.contextmanager
    def no_sync(self, model: Any) -> Iterator[None]:
        """Micro-batches that are not the last of their step. DeepSpeed adds up over processes all the same."""
        self.engine.set_gradient_accumulation_boundary(False)
        try:
            yield
        finally:
            self.engine.set_gradient_accumulation_boundary(True)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of a micro-batch, averaged over processes, to the shares; takes no step."""
        self.engine.backward(loss)

    def clip_grad_norm_(self, parameters: Iterable[torch.Tensor], max_norm: float) -> torch.Tensor:
        """As `torch.nn.utils.clip_grad_norm_` for the whole gradient; gives its norm before."""
        shares = [share for group in self.engine.optimizer.averaged_gradients.values() for share in group]
        norm = self.reduce(torch.nn.utils.get_total_norm(shares).square(), reduction="sum").sqrt()
        torch._foreach_mul_(shares, (max_norm / (norm + 1e-6)).clamp(max=1.0))
        return norm


class ZeroOptimizer:
    """Adam on shares, with a state as that of Adam on whole weights.

    Args:
        engine: of DeepSpeed.
    """

    def __init__(self, engine: Any) -> None:
        self.engine, self.shares = engine, engine.optimizer
        self.adam: torch.optim.Optimizer = engine.optimizer.optimizer

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of Adam; their weights are those of the shares."""
        return self.adam.param_groups

    def step(self) -> None:
        """Update the weights."""
        self.engine.step()

    def zero_grad(self) -> None:
        """Forget gradients, whether `step` has used them or not; as DeepSpeed does after those that overflow."""
        self.shares.zero_grad()
        for gradients in (self.shares.averaged_gradients, self.shares.all_grad_tensors):
            gradients.update(dict.fromkeys(gradients))

    def state_dict(self) -> dict[str, Any]:
        """The moments of whole weights, by number of the weight, in the main process; every process calls it."""
        from deepspeed.utils import safe_get_full_optimizer_state

        is_main = torch.distributed.get_rank() == 0
        moments: dict[int, dict[str, torch.Tensor]] = {}
        of_shares = list(self.adam.state.values())
        weights = [(index, each) for index, each in enumerate(self.engine.parameters()) if each.requires_grad]
        for (index, weight), name in itertools.product(weights if of_shares else (), _MOMENTS):
            # One after the other: all together may not fit into the memory of the device.
            moment = safe_get_full_optimizer_state(weight, name)
            if is_main:
                moments.setdefault(index, {"step": of_shares[0]["step"].clone()})[name] = moment.cpu()
        return {"state": moments, "param_groups": self.adam.state_dict()["param_groups"]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from moments of whole weights, the same in all processes, and from weights that were set before; to be
        called before the first step."""
        from deepspeed.utils import safe_set_full_optimizer_state

        self.shares.refresh_fp32_params()
        if not state["state"]:
            return
        (weights,) = self.param_groups[0]["params"]
        fresh = {name: torch.zeros_like(weights) for name in _MOMENTS}
        fresh["step"] = next(iter(state["state"].values()))["step"]
        self.adam.load_state_dict({"state": {0: fresh}, "param_groups": self.adam.state_dict()["param_groups"]})
        self.shares._lazy_init_hp_params_optimizer_state()
        for index, weight in enumerate(self.engine.parameters()):
            for name in _MOMENTS if weight.requires_grad else ():
                safe_set_full_optimizer_state(weight, state["state"][index][name], name)
