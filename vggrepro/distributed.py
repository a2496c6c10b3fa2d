"""Several processes for one net (Section 3.3), as started by `torchrun -m vggrepro run ...`.

Synchronous data parallelism: every process (rank) has the whole net and a share of each batch,
and gradients are averaged. All ranks take the same way through the same code. What needs to be
decided, read or written once is done by rank 0, which tells the others.

Without torchrun there is one process, and nothing here does anything.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from inspect import signature
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from vggrepro import UserError
from vggrepro.process import end_with_parent

T = TypeVar("T")
CPU = torch.device("cpu")
# Rank 0 may decode a large data set while the others wait; torchrun sees it if one has died.
PATIENCE = timedelta(days=1)


@contextmanager
def group(device: torch.device) -> Iterator[None]:
    """Join the other processes that torchrun started for one net, if there are any.

    Gradients go by NCCL between CUDA devices, one to each process of a machine; everything else
    goes by Gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    end_with_parent()  # torchrun may be killed, and its ranks would go on for ever
    backend = "gloo"
    if device.type == "cuda":  # not yet run on GPUs by anyone of us
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl"
    store, number, count = next(dist.rendezvous("env://", timeout=PATIENCE))
    if os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]:
        # torchrun keeps one store over its restarts, and a rank may find the address of a dead one
        # in it. Of several machines each counts its own restarts, so there it has to stay.
        life = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = dist.PrefixStore(f"life {life}", store)
    dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=PATIENCE)
    # Not left in order after an error: the others may be gone, or wait for something else.
    yield
    dist.destroy_process_group()


def rank() -> int:
    """The number of this process, 0 for the first or only one."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """The number of processes that train one net together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def parallel(model: nn.Module) -> nn.Module:
    """The net with its gradients averaged over the ranks; with one process, the net itself."""
    if world() == 1:
        return model
    # The one buffer, the mean RGB, is the same everywhere. PyTorch has renamed the option.
    known = signature(DistributedDataParallel).parameters
    option = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    return DistributedDataParallel(model, **{option: False})


def bare(model: nn.Module) -> nn.Module:
    """The net within what `parallel` and `torch.compile` put around it."""
    model = getattr(model, "_orig_mod", model)
    return model.module if isinstance(model, DistributedDataParallel) else model


def alone(model: nn.Module) -> AbstractContextManager:
    """Within it, forward and backward passes sum gradients up on each rank; the next averages."""
    return model.no_sync() if world() > 1 else nullcontext()


def first(function: Callable[[], T]) -> T:
    """Let rank 0 call `function`: what it returns, on every rank.

    Raises the `UserError` that it raises there; the other ranks then end without a word.
    """
    if world() == 1:
        return function()
    told, problem = [None, False], None
    if rank() == 0:
        try:
            told = [function(), False]
        except UserError as error:
            told, problem = [None, True], error
    dist.broadcast_object_list(told, device=CPU)
    if problem:
        raise problem
    if told[1]:
        sys.exit(1)
    return told[0]


def first_then_others(function: Callable[[], T]) -> T:
    """What `function` returns, called by rank 0 first and by the others when it has succeeded.

    For reading: rank 0 says what is wrong with a file, and fills a cache for all. Raises
    `UserError` as `first` does.
    """
    found = []
    first(lambda: found.append(function()))
    return found[0] if found else function()


def add(values: np.ndarray) -> np.ndarray:
    """The sum of an array over the ranks, in its own precision; on every rank the same bits."""
    if world() == 1:
        return values
    total = torch.from_numpy(values.copy())
    dist.all_reduce(total)
    return total.numpy()


def gather(value: T) -> list[T]:
    """What each rank has for `value`, by rank."""
    if world() == 1:
        return [value]
    values: list = [None] * world()
    dist.all_gather_object(values, value)
    return values
