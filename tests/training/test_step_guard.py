"""Losses and gradients that are not finite; levels of determinism; memory that runs out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from tests.training.scenes import sphere_batch, tiny_model
from torch import Tensor
from torch.utils.data import DataLoader

from one2345.errors import CheckpointError, InputError
from one2345.losses import WeightedLosses
from one2345.rendering import RenderSettings
from one2345.training import (
    AdamCosine,
    ReconstructionModule,
    StepGuard,
    TermSettings,
    determinism,
    load_batch,
)


class Factors(pl.LightningModule):
    """The loss is a weight times a factor, which the data give: its gradient is the factor."""

    def __init__(self, gradient: float | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.frozen = torch.nn.Parameter(torch.ones(1), requires_grad=False)
        self.logged: list[float] = []
        if gradient is not None:
            self.weight.register_hook(lambda g: g * gradient)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (self.weight * batch).sum()

    def on_train_batch_end(self, *args: Any) -> None:
        self.logged.append(float(self.trainer.callback_metrics.get("gradient/total", -1.0)))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW([self.weight, self.frozen], lr=0.1)


def fit(folder: Path, factors: list[float], module: pl.LightningModule | None = None, **options: Any) -> Any:
    module = Factors() if module is None else module
    guard = StepGuard(
        folder=str(folder), **{k: options.pop(k) for k in ("in_a_row", "in_all") if k in options}
    )
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=len(factors), logger=False, enable_progress_bar=False, callbacks=[guard],
        enable_model_summary=False, enable_checkpointing=False, default_root_dir=folder, **options,
    )  # fmt: skip
    trainer.fit(module, DataLoader(torch.tensor(factors)[:, None], batch_size=1))  # type: ignore[arg-type]
    return module, trainer, guard


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_bad_step_changes_nothing_but_the_count(bad: float, tmp_path: Path, caplog: Any) -> None:
    good, _, _ = fit(tmp_path, [1.0, 2.0])
    with caplog.at_level(logging.WARNING):
        skipped, trainer, guard = fit(tmp_path, [1.0, bad, 2.0])
    assert torch.equal(good.weight, skipped.weight)
    state = trainer.optimizers[0].state_dict()["state"][0]
    assert int(state["step"]) == 2 and trainer.global_step == 3
    assert (guard.row, guard.total) == (0, 1)
    assert "step 1: the loss is not finite; skipped, 1 in a row, 1 in all" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_a_bad_gradient_of_a_good_loss_is_skipped_too(tmp_path: Path) -> None:
    module, _, guard = fit(tmp_path, [1.0, 2.0], Factors(torch.inf))
    assert torch.equal(module.weight, torch.ones(3)) and guard.total == 2


def test_a_bad_batch_spoils_the_step_that_it_is_part_of(tmp_path: Path) -> None:
    module, trainer, guard = fit(
        tmp_path, [torch.nan, 1.0, 2.0, 4.0], gradient_clip_val=1.0, accumulate_grad_batches=2
    )
    # Two epochs of two steps, the first of each spoilt.
    assert guard.total == 2 and int(trainer.optimizers[0].state_dict()["state"][0]["step"]) == 2
    assert bool(torch.isfinite(module.weight).all())


def test_the_norm_is_logged_before_clipping(tmp_path: Path) -> None:
    module, _, _ = fit(tmp_path, [1.0, 2.0], gradient_clip_val=0.5)
    assert module.logged == pytest.approx([3**0.5, 2 * 3**0.5])


@pytest.mark.parametrize(
    ("factors", "limits", "step"),
    [
        ([1.0, torch.nan, torch.nan, torch.nan, 1.0], {"in_a_row": 2}, 3),
        ([torch.nan, 1.0, torch.nan, 1.0, torch.nan, 1.0], {"in_a_row": 2, "in_all": 2}, 4),
        ([torch.nan], {"in_a_row": 0}, 0),
    ],
)
def test_too_many_bad_steps_end_the_run(
    factors: list[float], limits: dict[str, int], step: int, tmp_path: Path
) -> None:
    with pytest.raises(
        InputError, match=f"step {step}: the loss is not finite.*bad-batch-step-0*{step}-rank-0"
    ):
        fit(tmp_path, factors, **limits)


def test_counts_survive_a_stop() -> None:
    guard = StepGuard(folder=".")
    guard.row, guard.total = 2, 7
    other = StepGuard(folder=".")
    other.load_state_dict(guard.state_dict())
    assert (other.row, other.total) == (2, 7)


def module_of_scenes() -> ReconstructionModule:
    return ReconstructionModule(
        model=tiny_model(),
        loss=WeightedLosses(colour=1.0, sdf=5.0),
        optim=AdamCosine(),
        terms=TermSettings(render=RenderSettings(coarse=8, fine=8), uniform_points=64),
    )


def test_the_batch_that_ended_a_run_can_be_looked_at(tmp_path: Path) -> None:
    batch = sphere_batch(objects=2)
    batch.rays.rgb[1, 5] = torch.nan
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=3, logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, callbacks=[StepGuard(folder=str(tmp_path), in_a_row=0)],
    )  # fmt: skip
    with pytest.raises(InputError, match=r"sphere-0, sphere-1"):
        trainer.fit(module_of_scenes(), DataLoader([sphere_batch(), batch], batch_size=None))  # type: ignore[arg-type]
    (file,) = tmp_path.glob("bad-batch-*")
    found, step, weights = load_batch(file)
    assert step == 1 and found.ids == batch.ids and torch.equal(found.cameras.c2w, batch.cameras.c2w)
    module = module_of_scenes()
    module.load_state_dict(weights)
    total, terms = module.losses(found, step)
    assert not bool(torch.isfinite(total)) and not bool(torch.isfinite(terms["colour"]))
    assert bool(torch.isfinite(terms["sdf"]))


def test_a_file_that_holds_no_batch_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.pt"
    torch.save({"batch": {"type": "os.system", "command": "x"}, "step": 1, "state_dict": {}}, file)
    with pytest.raises(CheckpointError, match=r"x\.pt"):
        load_batch(file)


def test_levels_of_determinism_are_put_back() -> None:
    before = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    for level, expected in (
        ("off", (False, True, False)),
        ("seeded", (False, False, True)),
        ("strict", (True, False, True)),
    ):
        with determinism(level):
            cudnn = torch.backends.cudnn
            assert (
                torch.are_deterministic_algorithms_enabled(),
                cudnn.benchmark,
                cudnn.deterministic,
            ) == expected
        assert not torch.are_deterministic_algorithms_enabled()
        assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic) == before
    with pytest.raises(InputError, match="determinism=always"), determinism("always"):  # type: ignore[arg-type]
        pass


def test_strict_names_the_operation_that_has_no_deterministic_form() -> None:
    """As torch words it; on the CPU only few operations have none."""
    x = torch.rand(1, 1, 4, 4, requires_grad=True)
    with (
        pytest.raises(
            InputError, match=r"determinism=strict: max_unpooling2d_forward_out has no deterministic form"
        ),
        determinism("strict"),
    ):
        torch.nn.functional.max_unpool2d(x, torch.arange(16).reshape(1, 1, 4, 4), 2)
    with pytest.raises(RuntimeError, match="of its own"), determinism("strict"):
        raise RuntimeError("of its own")
