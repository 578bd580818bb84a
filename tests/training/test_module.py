"""One process with a whole batch against parts of it, checkpoints, schedule."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from lightning.pytorch.loggers import CSVLogger
from PIL import Image
from tests.training.scenes import TINY, sphere_batch, tiny_model
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from one2345.checkpoint_folder import step_name
from one2345.checkpoints import load_reconstructor, save_release
from one2345.data.batch import SceneBatch
from one2345.errors import CheckpointError
from one2345.geometry import evaluation_box
from one2345.losses import WeightedLosses
from one2345.rendering import RenderSettings
from one2345.terminal import Bars
from one2345.training import (
    AdamCosine,
    ObjectTable,
    PreviewPanels,
    ReconstructionModule,
    RunCheckpoints,
    StepGuard,
    TermSettings,
    ThroughputMeter,
    TrainingProgress,
)


def _module(decay: float | None = None) -> ReconstructionModule:
    loss = WeightedLosses(
        colour=1.0, mask=0.5, depth=0.5, eikonal=0.1, sparsity=0.1, sdf=5.0, texture_consistency=1.0,
        view_consistency=1.0, mesh_regularisation=1.0,
    )  # fmt: skip
    settings = TermSettings(render=RenderSettings(coarse=8, fine=8), uniform_points=64, source_rays=32)
    return ReconstructionModule(
        model=tiny_model(), loss=loss, optim=AdamCosine(lr=1e-3, warmup=2), terms=settings, decay=decay,
        model_config=TINY,
    )  # fmt: skip


class _Loss(torch.nn.Module):
    def __init__(self, module: ReconstructionModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: object) -> torch.Tensor:
        return self.module.losses(batch, 0)[0]


def _rank(rank: int, address: str, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{address}", rank=rank, world_size=2)
    wrapped = DistributedDataParallel(_Loss(_module().double()))
    wrapped(sphere_batch(objects=1, seed=rank).to(torch.float64)).backward()
    if rank == 0:
        torch.save({n: p.grad for n, p in wrapped.module.module.named_parameters()}, out)
    # Its reducer would keep the group beyond its end, and gloo may wait there for itself, forever.
    del wrapped
    dist.destroy_process_group()


def test_two_processes_with_half_the_batch_give_the_gradients_of_one(tmp_path: Path) -> None:
    module = _module().double()
    module.losses(sphere_batch(objects=2).to(torch.float64), 0)[0].backward()
    mp.spawn(_rank, args=(str(tmp_path / "store"), str(tmp_path / "grads.pt")), nprocs=2)
    found = torch.load(tmp_path / "grads.pt")
    for name, parameter in module.named_parameters():
        # A softmax ignores the bias of its logits: its gradient is 0 but for rounding.
        assert (found[name] - parameter.grad).norm() < 1e-5 * parameter.grad.norm() + 1e-15, name


def test_a_batch_is_the_mean_of_its_objects() -> None:
    module = _module().double()  # in float32 importance samples move by rounding
    together, _ = module.losses(sphere_batch(objects=2).to(torch.float64), 0)
    apart = [module.losses(sphere_batch(objects=1, seed=s).to(torch.float64), 0)[0] for s in (0, 1)]
    assert torch.allclose(together, sum(apart) / 2, rtol=1e-9)


def test_each_object_draws_from_its_own_stream() -> None:
    module, batch = _module(), sphere_batch()
    total, _ = module.losses(batch, 0)
    again, _ = module.losses(batch, 0)
    other, _ = module.losses(replace(batch, seeds=(5,)), 0)
    assert torch.equal(total, again) and not torch.equal(total, other)


def test_schedule() -> None:
    optim = AdamCosine(lr=1.0, floor=0.1, warmup=4)
    assert optim.factor(0, 100) == pytest.approx(1 / 5)
    assert optim.factor(50, 100) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 2)) / 2)
    assert optim.factor(100, 100) == optim.factor(500, 100) == pytest.approx(0.1)


def test_autocast_changes_little() -> None:
    """Under bf16 the networks run in bf16 and everything about distances in float32."""
    module = _module()
    batch = sphere_batch()
    full, _ = module.losses(batch, 0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half, _ = module.losses(batch, 0)
    half.backward()
    assert half.dtype == torch.float32 and torch.allclose(full, half, rtol=0.05)


class _Scenes(torch.utils.data.Dataset):
    """One scene per index, the same one at every third."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> SceneBatch:
        return sphere_batch(seed=index % 3)


def _fit(folder: Path, steps: int, **options: object) -> tuple[pl.Trainer, ReconstructionModule]:
    callbacks = [
        RunCheckpoints(folder=str(folder / "checkpoints"), every_steps=2),
        PreviewPanels(folder=str(folder / "media"), size=32, resolution=24, views=3),
        ObjectTable(folder=str(folder / "media")),
        StepGuard(folder=str(folder)),
        ThroughputMeter(window=1),
        TrainingProgress(every_seconds=0.0),
    ]
    trainer = pl.Trainer(
        max_steps=steps, accelerator="cpu", logger=CSVLogger(folder, name="", version=""), val_check_interval=2,
        check_val_every_n_epoch=None, num_sanity_val_steps=0, enable_model_summary=False, log_every_n_steps=1,
        default_root_dir=folder, callbacks=callbacks, **options,
    )  # fmt: skip
    module = _module()
    loader = DataLoader(_Scenes(), batch_size=None)
    trainer.fit(module, loader, loader)
    return trainer, module


def test_a_short_run_leaves_checkpoint_previews_and_metrics(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("one2345.terminal.WORTH_A_LINE", 0.0)
    closed, close = [], Bars.__exit__
    monkeypatch.setattr(Bars, "__exit__", lambda self, *a: (closed.append(self), close(self, *a)))
    with caplog.at_level("INFO", "one2345.terminal"):
        _fit(tmp_path, 3)
    folder = tmp_path / "checkpoints"
    assert sorted(f.name for f in folder.iterdir()) == [
        step_name(2),
        step_name(3),
    ]  # not only the multiple of 2
    assert torch.load(folder / step_name(3), weights_only=True)["global_step"] == 3
    (panel,) = (tmp_path / "media" / "previews").iterdir()
    picture = np.asarray(Image.open(panel))
    assert panel.name == "step-0000002-sphere-0.png" and picture.std() > 10
    metrics = (tmp_path / "metrics.csv").read_text()
    parts = ("feature_net", "volume_net", "sdf_net", "blend_net", "total")
    speed = ("objects_per_second", "step_seconds", "waiting_for_data", "peak_memory_mib")
    names = ["val/iou", "val/prior_iou", "val/psnr", "loss/total"]
    for name in [*names, *(f"gradient/{p}" for p in parts), *(f"speed/{s}" for s in speed)]:
        assert name in metrics.splitlines()[0].split(","), name
    rows = [row for row in csv.DictReader(metrics.splitlines()) if row["gradient/total"]]
    for row in rows:
        norms = [float(v) for k, v in row.items() if k.startswith("gradient/") and k != "gradient/total"]
        assert sum(n**2 for n in norms) == pytest.approx(float(row["gradient/total"]) ** 2, rel=1e-4)
    (mesh,) = (tmp_path / "media" / "meshes").iterdir()
    assert mesh.name == "step-0000002-sphere-0.glb" and mesh.read_bytes().startswith(b"glTF")
    (table,) = (tmp_path / "media" / "tables").iterdir()
    with table.open(newline="") as file:
        found = {row["object"]: row for row in csv.DictReader(file)}
    assert list(found) == ["sphere-0", "sphere-1", "sphere-2"] and table.name == "step-0000002-validation.csv"
    (scores,) = [r for r in csv.DictReader(metrics.splitlines()) if r["val/iou"]]
    for name in ("iou", "prior_iou", "psnr"):
        mean = sum(float(row[name]) for row in found.values()) / 3
        assert mean == pytest.approx(float(scores[f"val/{name}"]), rel=1e-5), name
    (line,) = [m for m in caplog.messages if m.startswith("training: 3 of 3, ")]
    assert "  loss " in line and "IoU" in line and line.endswith(" steps/s")
    assert any(m.startswith("validating: 6 of 6") for m in caplog.messages)
    assert len(closed) == 1  # one bar from the first step to the last, whatever validations lie between


def test_validation_counts_each_object_once(tmp_path: Path) -> None:
    """Six batches hold three objects twice: the mean is that of three."""
    trainer, module = _fit(tmp_path, 2)
    module.eval()
    scores = []
    with torch.no_grad():
        for seed in range(3):
            batch = sphere_batch(seed=seed)
            points = evaluation_box(64).nodes().reshape(1, -1, 3)
            inside, truth = module.field(batch).sdf(points) < 0, batch.occupancy_64.flatten(1)
            scores.append(float((inside & truth).sum() / (inside | truth).sum()))
    assert float(trainer.callback_metrics["val/iou"]) == pytest.approx(sum(scores) / 3, abs=1e-6)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that Lightning wrote after three steps."""
    folder = tmp_path_factory.mktemp("run")
    trainer = pl.Trainer(
        max_steps=3, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder, enable_checkpointing=False,
    )  # fmt: skip
    loader = DataLoader([sphere_batch()] * 3, batch_size=None)
    trainer.fit(_module(), loader)
    trainer.save_checkpoint(folder / "checkpoints" / step_name(3))
    return folder


def test_checkpoint_and_release_give_the_same_network(trained: Path, tmp_path: Path) -> None:
    batch = sphere_batch()
    model, record = load_reconstructor(trained)
    save_release(tmp_path / "w.safetensors", model, record)
    again, _ = load_reconstructor(tmp_path / "w.safetensors")
    points = torch.rand(1, 50, 3) - 0.5
    a, b = (m(batch.images, batch.masks, batch.cameras).sdf(points) for m in (model, again))
    assert torch.equal(a, b) and record["model"] == TINY and not model.training


def _average_run(
    folder: Path, decay: float | None, resume: Path | None = None
) -> tuple[pl.Trainer, ReconstructionModule]:
    """Four steps, a validation and a checkpoint at every second."""
    trainer = pl.Trainer(
        max_steps=4, accelerator="cpu", logger=False, enable_progress_bar=False, val_check_interval=2,
        enable_model_summary=False, default_root_dir=folder, num_sanity_val_steps=0,
        callbacks=[RunCheckpoints(folder=str(folder), every_steps=2)],
    )  # fmt: skip
    torch.manual_seed(0)
    module = _module(decay)
    loader = DataLoader([sphere_batch()] * 4, batch_size=None)
    trainer.fit(module, loader, loader, ckpt_path=resume)
    return trainer, module


def test_an_average_is_validated_and_read_and_goes_on_after_a_stop(tmp_path: Path) -> None:
    trainer, whole = _average_run(tmp_path / "whole", 0.5)
    assert whole.average is not None and whole.average.steps == 4
    read, _ = load_reconstructor(tmp_path / "whole")
    weights = {name: p.detach().clone() for name, p in whole.model.named_parameters()}
    with whole.averaged():
        averages = {name: p.detach().clone() for name, p in whole.model.named_parameters()}
        with torch.no_grad():
            score = whole._validate(sphere_batch())["objects"]["sphere-0"]["psnr"]
    assert any((averages[name] - weights[name]).abs().max() > 1e-5 for name in weights)
    for name, parameter in read.named_parameters():
        assert torch.equal(parameter, averages[name]), name
    assert float(trainer.callback_metrics["val/psnr"]) == pytest.approx(score, abs=1e-4)

    _, second = _average_run(tmp_path / "again", 0.5, tmp_path / "whole" / step_name(2))
    for name, parameter in second.model.named_parameters():
        assert torch.equal(parameter, weights[name]), name
    with second.averaged():
        for name, parameter in second.model.named_parameters():
            assert torch.equal(parameter, averages[name]), name


def test_an_average_begins_at_the_weights_that_a_run_without_one_left() -> None:
    module = _module(decay=0.5)
    module.model.load_state_dict({name: t + 1 for name, t in module.model.state_dict().items()})
    loaded = {name: p.detach().clone() for name, p in module.model.named_parameters()}
    module.on_train_start()
    with module.averaged():
        assert all(torch.equal(p, loaded[name]) for name, p in module.model.named_parameters())


def test_bad_checkpoints_are_named(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_reconstructor(tmp_path / "none.ckpt")
    with pytest.raises(CheckpointError, match=r"best\.ckpt or step-"):
        load_reconstructor(tmp_path)
    whole = (trained / "checkpoints" / step_name(3)).read_bytes()
    torn = tmp_path / "torn.ckpt"
    torn.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"torn\.ckpt: damaged"):
        load_reconstructor(torn)
    content = torch.load(trained / "checkpoints" / step_name(3), weights_only=True)
    foreign = tmp_path / "foreign.ckpt"
    torch.save({"state_dict": content["state_dict"]}, foreign)
    with pytest.raises(CheckpointError, match="not weights of this project"):
        load_reconstructor(foreign)
    content["average"] = {"steps": 3, "average": {"other": torch.zeros(1)}}
    torch.save(content, foreign)
    with pytest.raises(CheckpointError, match="is of another network"):
        load_reconstructor(foreign)
    del content["average"]
    content["one2345"]["model"]["sdf_net"]["hidden"] = 48
    torch.save(content, foreign)
    with pytest.raises(CheckpointError, match=r"another model: .*sdf_net"):
        load_reconstructor(foreign)


def test_a_hostile_checkpoint_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Hostile:
        def __reduce__(self) -> tuple:
            return (Path.touch, (marker,))

    file = tmp_path / "hostile.ckpt"
    torch.save({"state_dict": {}, "x": Hostile()}, file)
    with pytest.raises(CheckpointError, match="more than tensors"):
        load_reconstructor(file)
    torch.save(
        {
            "state_dict": {},
            "one2345": {"format": "one2345-reconstructor/1", "model": {"_target_": "os.system"}},
        },
        file,
    )
    with pytest.raises(CheckpointError, match=r"os\.system"):
        load_reconstructor(file)
    assert not marker.exists()
