"""Several processes that share one evaluation (torchrun)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def process_group() -> Iterator[bool]:
    """Join the processes that torchrun started, if it did; yields whether this is the first one."""
    import torch.distributed as dist

    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world < 2 or dist.is_initialized():
        yield int(os.environ.get("RANK", "0")) == 0
        return
    dist.init_process_group("gloo")
    try:
        yield dist.get_rank() == 0
    finally:
        dist.destroy_process_group()


@contextmanager
def one_after_another() -> Iterator[None]:
    """The first process goes first, the others once it is done: what it prepared they find."""
    import torch.distributed as dist

    together = dist.is_initialized() and dist.get_world_size() > 1
    first = not together or dist.get_rank() == 0
    if not first:
        dist.barrier()
    yield
    if together and first:
        dist.barrier()
