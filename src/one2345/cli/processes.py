"""Several processes that share one evaluation (torchrun)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def process_group() -> Iterator[bool]:
    """Join the processes that torchrun started; yields whether there are several."""
    import torch.distributed as dist

    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield False
        return
    dist.init_process_group("gloo")
    try:
        yield True
    finally:
        dist.destroy_process_group()


@contextmanager
def first_then_others(shared: bool) -> Iterator[None]:
    """Of several processes the first goes first, the others once it is done: what it prepared they find."""
    import torch.distributed as dist

    first = not shared or dist.get_rank() == 0
    if not first:
        dist.barrier()
    yield
    if shared and first:
        dist.barrier()
