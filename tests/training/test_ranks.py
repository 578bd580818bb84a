"""One, two and three processes over gloo at equal global batch: the same training, the same evaluation.

Training is compared in double precision. In single precision the losses of these twenty steps agree to 1e-6 for about
ten steps, and then part by up to 2e-4: rounding grows that fast here.
"""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.data.spheres import RECIPE, Balls

from one2345.data import prepare_objects

PROGRAM = Path(__file__).with_name("ranks.py")
WORLDS = (1, 2, 3)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int], dict[str, Any]]:
    """What every rank of every number of ranks found: (world, rank) → its results."""
    folder = tmp_path_factory.mktemp("ranks")
    recipe = replace(RECIPE, train_samples=RECIPE.eval_samples)  # all seven are validated, too
    prepare_objects(Balls(7), out=folder / "data", recipe=recipe, workers=1, progress=False)
    found = {}
    for world in WORLDS:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        argv = [sys.executable, str(PROGRAM), str(folder), str(folder / "data")]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        ranks = [
            subprocess.Popen(
                [*argv, str(rank), str(world), str(port)],
                cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
            for rank in range(world)
        ]  # fmt: skip
        try:
            said = [rank.communicate(timeout=900)[0] for rank in ranks]
        finally:
            for rank in ranks:
                rank.kill()
        assert [rank.returncode for rank in ranks] == [0] * world, said[0][-3000:]
        for rank in range(world):
            found[world, rank] = torch.load(folder / f"{world}-{rank}.pt", weights_only=True)
    return found


@pytest.mark.timeout(1800)
def test_twenty_losses_agree(results) -> None:
    """Seven objects in batches of six over all ranks: every epoch leaves out another one."""
    one = torch.tensor(results[1, 0]["whole"]["losses"])
    assert len(one) == 20 and one.std() > 1e-3  # it trains
    for (world, rank), found in results.items():
        losses = torch.tensor(found["whole"]["losses"])
        assert (losses - one).abs().max() < 1e-5, (world, rank)


def test_ranks_hold_the_same_weights(results) -> None:
    for (world, rank), found in results.items():
        assert torch.equal(found["whole"]["weights"], results[world, 0]["whole"]["weights"]), (world, rank)


def test_scores_of_seven_objects_are_the_same_on_any_number_of_ranks(results) -> None:
    """Two ranks deal four each, three ranks three each: what is dealt twice counts once."""
    one = results[1, 0]["scores 1"]
    assert {"val/psnr", "val/iou", "val/prior_iou"} == set(one)
    for (world, rank), found in results.items():
        assert found["scores 1"] == one, (world, rank)


def test_uneven_last_batches_count_by_object(results) -> None:
    """Batches of two leave one object over: a mean over batches would be another number."""
    one = results[1, 0]["scores 1"]
    for (world, rank), found in results.items():
        assert found["scores 2"] == pytest.approx(one, rel=1e-5), (world, rank)


def test_accumulated_gradients_are_those_of_the_bigger_batch(results) -> None:
    whole = torch.tensor(results[1, 0]["whole"]["losses"][:3])
    for world in (1, 3):
        parts = torch.tensor(results[world, 0]["parts"]["losses"])
        assert (parts - whole).abs().max() < 1e-5, world
