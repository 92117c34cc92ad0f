"""Becomes `tests/distributed_testing_utils.py`, which the suite imports and its archive leaves out.

Ranks are processes on the CPU that speak gloo. The names are those that the suite imports.
"""

import multiprocessing
import os
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def _get_distributed_device_type() -> str:
    return "cpu"


def _get_distributed_backend() -> str:
    return "gloo"


def _get_rank_device(rank: int) -> torch.device:
    return torch.device("cpu")


def _set_rank_device(rank: int) -> None:
    """Nothing to choose: all ranks are on the CPU."""


def _start_rank_processes(function: Callable[..., None], args: tuple[Any, ...], nprocs: int) -> None:
    """Run `function(rank, *args)` in `nprocs` processes; raises what the first that fails raised."""
    # Processes that are copies of one that has done the imports start in no time.
    multiprocessing.set_forkserver_preload(["tests.test_fsdp_mixin", "tests.test_tensor_parallel_mixin"])
    mp.start_processes(function, args=args, nprocs=nprocs, start_method="forkserver")


def _run_rank(rank: int, port: int, world_size: int, test: Callable[..., None], test_args: tuple[Any, ...]) -> None:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()} | {"MASTER_ADDR": "localhost"})
    store = dist.TCPStore("localhost", port, is_master=False)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size)
    try:
        test(rank, *test_args)
        dist.barrier()
    finally:
        dist.destroy_process_group()


def run_distributed(world_size: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator: calling the test runs `test(rank, *args)` in `world_size` processes that form one group."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        def run(*test_args: Any) -> None:
            # Held open here until all ranks are done, so that no other program can take the port meanwhile.
            store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
            _start_rank_processes(_run_rank, (store.port, world_size, test, test_args), world_size)

        return run

    return decorate
