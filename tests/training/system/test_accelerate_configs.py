"""Test the configs for `accelerate launch`, read by Accelerate itself."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

from sineformer.training.preflight import read_settings
from sineformer.training.settings.arguments import Settings
from sineformer.training.settings.recipe import RecipeError
from sineformer.training.system import launch, processes, zero
from sineformer.training.system.files import CheckpointError
from sineformer.training.system.processes import LONGEST_WAIT, build_accelerator, check_same_disk
from sineformer.training.system.sharding import force_distributed_type

FOLDER = Path(__file__).parents[3] / "training" / "accelerate"
KINDS = {
    "cpu.yaml": (DistributedType.NO, 1, 1),
    "multi_cpu.yaml": (DistributedType.MULTI_GPU, 1, 2),
    "one_gpu.yaml": (DistributedType.NO, 1, 1),
    "multi_gpu.yaml": (DistributedType.MULTI_GPU, 1, 8),
    "several_machines.yaml": (DistributedType.MULTI_GPU, 2, 16),
    "fsdp2.yaml": (DistributedType.FSDP, 1, 8),
    "zero2.yaml": (DistributedType.DEEPSPEED, 1, 8),
}


def load(name: str) -> ClusterConfig:
    return load_config_from_file(str(FOLDER / name))  # refuses unknown keys


def environment(monkeypatch: pytest.MonkeyPatch, *flags: str) -> dict[str, Any]:
    """Return the environment of processes that `accelerate launch` starts with these flags."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    arguments = launch_command_parser().parse_args([*flags, "train.py"])
    arguments, *_ = _validate_launch_command(arguments)
    return prepare_multi_gpu_env(arguments)


def test_every_config_is_read_as_its_name_says() -> None:
    assert {path.name for path in FOLDER.iterdir()} == KINDS.keys()
    for name, kind in KINDS.items():
        config = load(name)
        assert (config.distributed_type, config.num_machines, config.num_processes) == kind, name
        assert config.use_cpu == ("cpu" in name)
        # The recipe says it, for otherwise a run would depend on both.
        assert config.mixed_precision == "no"


def test_unknown_keys_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text((FOLDER / "cpu.yaml").read_text() + "number_of_processes: 2\n")
    with pytest.raises(ValueError, match="number_of_processes"):
        load_config_from_file(str(file))


def test_several_machines_meet_at_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--config_file", str(FOLDER / "several_machines.yaml"), "--main_process_ip", "10.0.0.1"]
    arguments = launch_command_parser().parse_args([*flags, "--machine_rank", "1", "train.py"])
    arguments, *_ = _validate_launch_command(arguments)
    prepare_multi_gpu_env(arguments)
    assert (arguments.nnodes, arguments.node_rank, arguments.nproc_per_node) == ("2", 1, "8")
    assert arguments.rdzv_endpoint == "10.0.0.1:29500"


@pytest.fixture
def no_accelerator() -> Any:
    """Reset the state of Accelerate before and after a test."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("kind", [DistributedType.FSDP, DistributedType.DEEPSPEED])
def test_accelerate_keeps_the_distributed_type_on_cpus(no_accelerator: None, kind: DistributedType) -> None:
    accelerator = Accelerator(cpu=True)
    force_distributed_type(accelerator, kind)
    accelerator.prepare_optimizer(torch.optim.SGD([torch.zeros(1)], lr=1.0))  # asks for the state
    assert accelerator.distributed_type == kind


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Settings]:
    """Return a function that reads settings with these flags, as a process of a run does."""
    return lambda *flags: read_settings(
        ["--dataset", "embedded", "--output_dir", str(tmp_path), "--use_cpu", "--max_steps", "1", *flags]
    )


def test_fsdp_is_requested_by_the_settings_of_accelerate(
    monkeypatch: pytest.MonkeyPatch, read: Callable[..., Settings]
) -> None:
    told = environment(monkeypatch, "--config_file", str(FOLDER / "fsdp2.yaml"))
    assert (told["ACCELERATE_USE_FSDP"], told["FSDP_VERSION"]) == ("true", "2")
    for key, value in told.items():
        if key.startswith(("ACCELERATE_USE_FSDP", "FSDP")):
            monkeypatch.setenv(key, value)
    with pytest.raises(RecipeError, match="there is only one; give --num_processes"):
        read()
    monkeypatch.setenv("FSDP_VERSION", "1")
    monkeypatch.setenv("FSDP_RESHARD_AFTER_FORWARD", "FULL_SHARD")
    with pytest.raises(RecipeError, match="fsdp_version is 1; it must be 2"):
        read()


@pytest.mark.parametrize(
    "processes", [{"LOCAL_RANK": "0", "WORLD_SIZE": "1"}, {"WORLD_SIZE": "2"}, {"OMPI_COMM_WORLD_SIZE": "2"}]
)
def test_a_single_launched_process_may_shard_weights(
    monkeypatch: pytest.MonkeyPatch, read: Callable[..., Settings], processes: dict[str, str]
) -> None:
    for variable, value in {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", **processes}.items():
        monkeypatch.setenv(variable, value)
    read()


def test_unsupported_launches_are_refused(monkeypatch: pytest.MonkeyPatch, read: Callable[..., Settings]) -> None:
    monkeypatch.setenv("ACCELERATE_USE_MEGATRON_LM", "true")
    with pytest.raises(RecipeError, match=r"Megatron-LM is not supported; training/accelerate/fsdp2.yaml"):
        read()


@pytest.fixture
def deepspeed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment of one of two processes that `accelerate launch` starts with the config for DeepSpeed."""
    monkeypatch.setattr(launch, "find_spec", lambda name: name)
    monkeypatch.setattr(launch, "compare_versions", lambda name, operation, version: False)
    arguments = launch_command_parser().parse_args(["--config_file", str(FOLDER / "zero2.yaml"), "train.py"])
    arguments, *_ = _validate_launch_command(arguments)
    arguments.deepspeed_fields_from_accelerate_config = ",".join(load("zero2.yaml").deepspeed_config)
    _, told = prepare_deepspeed_cmd_env(arguments)
    assert (told["ACCELERATE_USE_DEEPSPEED"], told["ACCELERATE_DEEPSPEED_ZERO_STAGE"]) == ("true", "2")
    for key, value in told.items():
        if key.startswith(("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_DEEPSPEED", "ACCELERATE_CONFIG_DS")):
            monkeypatch.setenv(key, value)
    monkeypatch.setenv("WORLD_SIZE", "2")


def test_no_setting_of_deepspeed_contradicts_the_recipe(
    monkeypatch: pytest.MonkeyPatch, deepspeed: None, read: Callable[..., Settings]
) -> None:
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    monkeypatch.setenv("ACCELERATE_GRADIENT_CLIPPING", "0.1")
    read()
    config = zero.zero_plugin("bf16").deepspeed_config
    assert (config["gradient_accumulation_steps"], config["gradient_clipping"]) == (1, 0.0)
    assert (config["bf16"], config["torch_autocast"]["enabled"]) == ({"enabled": False}, True)
    assert not zero.zero_plugin("no").deepspeed_config["torch_autocast"]["enabled"]


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3", r"zero_stage is 3; it must be 2\. training/accelerate/fsdp2.yaml"),
        ("ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE", "cpu", "offload_optimizer_device and .* must be none"),
        ("ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE", "nvme", "and offload_param_device must be none"),
        ("ACCELERATE_DEEPSPEED_CONFIG_FILE", "mine.json", "deepspeed_config_file is not read"),
        ("WORLD_SIZE", "1", "there is only one; give --num_processes"),
    ],
)
def test_settings_of_deepspeed_that_are_ignored_are_refused(
    monkeypatch: pytest.MonkeyPatch,
    deepspeed: None,
    read: Callable[..., Settings],
    variable: str,
    value: str,
    message: str,
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(RecipeError, match=message):
        read()


@pytest.mark.parametrize("setting", [("ema_decay", "0.9"), ("mixed_precision", "fp16")])
def test_recipes_that_deepspeed_cannot_follow_are_refused(
    deepspeed: None, read: Callable[..., Settings], setting: tuple[str, str]
) -> None:
    key, value = setting
    with pytest.raises(RecipeError, match=f"{key}.* not supported with DeepSpeed"):
        read(f"--{key}", value)


@pytest.mark.parametrize(
    ("name", "found"), [("find_spec", lambda name: None), ("compare_versions", lambda name, operation, version: True)]
)
def test_a_missing_or_old_deepspeed_is_reported_with_the_command_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
    deepspeed: None,
    read: Callable[..., Settings],
    name: str,
    found: Callable[..., Any],
) -> None:
    monkeypatch.setattr(launch, name, found)
    with pytest.raises(RecipeError, match=r"DeepSpeed 0.19.8 or later is not installed; pip install 'deepspeed>="):
        read()


@pytest.mark.parametrize("setting", [("ema_decay", "0.9"), ("average_checkpoints", "2")])
def test_averages_are_refused_with_fsdp(
    monkeypatch: pytest.MonkeyPatch, read: Callable[..., Settings], setting: tuple[str, str]
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    key, value = setting
    with pytest.raises(RecipeError, match="ema_decay, average_checkpoints: not with FSDP"):
        read(f"--{key}", value)


def test_a_folder_that_a_process_does_not_see_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    accelerator = Accelerator(cpu=True)
    (tmp_path / "seen").touch()
    check_same_disk(accelerator, tmp_path / "seen")
    monkeypatch.setattr(processes, "gather_object", lambda seen: [True, *seen])
    monkeypatch.setattr(processes, "SHARED_DISK_SECONDS", 0.3)
    threading.Timer(0.1, (tmp_path / "late").touch).start()
    check_same_disk(accelerator, tmp_path / "late")
    with pytest.raises(CheckpointError, match=r"processes 1 do not see .*unseen.*a disk that all machines share"):
        check_same_disk(accelerator, tmp_path / "unseen")


def test_processes_wait_for_the_main_process_longer_than_by_default(no_accelerator: None) -> None:
    accelerator = build_accelerator("no", use_cpu=True)
    assert accelerator.init_handler is not None
    assert accelerator.init_handler.timeout == LONGEST_WAIT > torch.distributed.distributed_c10d.default_pg_timeout
