import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from one2345.evaluation.metrics import ObjectMean

# Values with no exact binary form, so that a sum in another order would show.
VALUES = {f"object-{i}": (0.1 * (i + 1) / 7, 1.0 / (3 + i)) for i in range(7)}
SHARES = {
    "uneven": ([0, 1, 2, 3, 4], [5, 6]),
    "repeated": ([0, 2, 4, 6], [1, 3, 5, 0]),
    "none": (list(range(7)), []),
}


def _filled(ids):
    metric = ObjectMean(("x", "y"))
    for i in ids:
        metric.update(f"object-{i}", *VALUES[f"object-{i}"])
    return metric


def _work(rank, port, share, out):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    results = {}
    for name in SHARES:
        results[name] = {k: float(v) for k, v in _filled(SHARES[name][rank]).compute().items()}
    torch.save(results, f"{out}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_equal_one_exactly(tmp_path):
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    mp.spawn(_work, args=(port, None, str(tmp_path)), nprocs=2)
    one = {k: float(v) for k, v in _filled(range(7)).compute().items()}
    for rank in range(2):
        results = torch.load(tmp_path / f"{rank}.pt")
        for name in SHARES:
            assert results[name] == one, (rank, name)


def test_order_does_not_matter():
    assert _filled([3, 1, 6, 0, 2, 5, 4]).compute() == _filled(range(7)).compute()
    assert float(_filled([3, 3, 1]).compute()["x"]) == pytest.approx(
        (VALUES["object-3"][0] + VALUES["object-1"][0]) / 2
    )
