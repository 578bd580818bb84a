"""Accounts of a lattice by compiled loops against the plain operations."""

import pytest
import torch

from one2345.geometry import Box
from one2345.meshing.coarse_to_fine import sample_near_surface
from one2345.meshing.lattice import Lattice


def _bumpy(points: torch.Tensor) -> torch.Tensor:
    return points.norm(dim=-1) - 0.3 + 0.05 * torch.sin(40 * points).prod(-1)


@pytest.mark.parametrize(("resolution", "finest"), [(70, 2), (64, 4), (99, 16)])
def test_loops_evaluate_the_same_nodes(resolution: int, finest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for looped in (True, False):
        monkeypatch.setattr(Lattice, "_looped", looped)
        lattice = Lattice(_bumpy, Box(resolution=resolution))
        stats, kept = sample_near_surface(lattice, coarse=6, finest=finest)
        assert kept is not None
        found.append((stats, kept, *lattice.known(), lattice.dense()))
    (stats, kept, nodes, values, dense), (other_stats, *others) = found
    assert stats == other_stats
    for one, other in zip((kept, dense), (others[0], others[3]), strict=True):
        assert torch.equal(one, other)
    order, other_order = (((n[:, 0] * 128 + n[:, 1]) * 128 + n[:, 2]).argsort() for n in (nodes, others[1]))
    assert torch.equal(nodes[order], others[1][other_order])
    assert torch.equal(values[order], others[2][other_order])


@pytest.mark.parametrize("size", [2, 3, 8])
def test_torn_blocks(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    lattice = Lattice(_bumpy, Box(resolution=25))
    lattice.evaluate(torch.randint(0, 25, (900, 3), generator=generator))
    count = -(-24 // size)
    skipped = torch.randint(-1, 2, (count, count, count), generator=generator).to(torch.int8)
    index, value = lattice.known()
    expected = torch.zeros_like(skipped, dtype=torch.bool)
    for x, y, z in torch.cartesian_prod(*[torch.arange(count)] * 3).tolist():
        first = torch.tensor([x, y, z]) * size
        within = ((index >= first) & (index <= first + size)).all(1)
        expected[x, y, z] = (torch.where(value[within] > 0, 1, -1) == -skipped[x, y, z]).any()
    assert 0 < expected.sum() < (skipped != 0).sum()
    for looped in (True, False):
        monkeypatch.setattr(Lattice, "_looped", looped)
        assert torch.equal(lattice.torn(skipped, size), expected)


@pytest.mark.parametrize("size", [2, 4, 12])
def test_nodes_of_blocks_in_order(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def tell(points: torch.Tensor) -> torch.Tensor:
        return (points * torch.tensor([100.0, 10.0, 1.0])).sum(-1)

    blocks = torch.tensor([[0, 0, 0], [2, 1, 0], [2, 2, 2]])
    box = Box(resolution=2 * size + 2)
    line = torch.arange(size + 1)
    nodes = (blocks[:, None] * size + torch.cartesian_prod(line, line, line)).clamp_max(2 * size + 1)
    expected = tell(box.to_world(box.axis().float()[nodes]))
    for looped in (True, False):
        monkeypatch.setattr(Lattice, "_looped", looped)
        torch.testing.assert_close(Lattice(tell, box).at_blocks(blocks, size), expected)
        assert Lattice(tell, box).at_blocks(blocks[:0], size).shape == (0, (size + 1) ** 3)
