"""Checkpoints on the disk: whole or not there, the latest whole one, so many, and what a failing disk does."""

from __future__ import annotations

import logging
import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from tests.training.small_run import Line, loader

from one2345.checkpoint_folder import by_step, damage, newest, step_name
from one2345.data.loader import PlainLoader
from one2345.errors import CheckpointError, InputError
from one2345.training import RunCheckpoints, ThroughputMeter
from one2345.training.checkpoint_io import AtomicCheckpointIO, write_checkpoint
from one2345.training.rng_state import rng_state, set_rng_state


def fit(
    folder: Path, *, steps: int, every: int = 1, keep: int = 2, ckpt: Path | None = None, at: Any = None
) -> Line:
    module = Line(at)
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, max_steps=steps,
        callbacks=[RunCheckpoints(folder=str(folder), every_steps=every, keep=keep)], default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(module, loader(12), ckpt_path=ckpt, weights_only=True)
    return module


def test_so_many_of_the_latest_are_kept_and_nothing_lies_beside_them(tmp_path: Path) -> None:
    fit(tmp_path, steps=7, every=2, keep=3)
    assert [f.name for f in sorted(tmp_path.iterdir())] == [step_name(s) for s in (4, 6, 7)]
    assert newest(tmp_path) == tmp_path / step_name(7)
    for file in tmp_path.iterdir():
        assert torch.load(file, weights_only=True)["global_step"] == int(file.stem.removeprefix("step-"))


@pytest.mark.parametrize("tear", ["half", "flipped", "empty", "text"])
def test_a_torn_checkpoint_is_named_and_the_one_before_it_taken(
    tear: str, tmp_path: Path, caplog: Any
) -> None:
    fit(tmp_path, steps=4)
    file = tmp_path / step_name(4)
    data = bytearray(file.read_bytes())
    generator = torch.load(file, weights_only=True)["run"]["rng"][0]["torch"]
    data[data.index(generator.numpy().tobytes()) + 100] ^= 1
    torn = {"half": data[: len(data) // 2], "flipped": data, "empty": b"", "text": b"x" * 500}
    file.write_bytes(torn[tear])
    with caplog.at_level(logging.WARNING):
        assert newest(tmp_path) == tmp_path / step_name(3)
    assert f"{file} is damaged" in caplog.text
    assert damage(tmp_path / step_name(3)) is None


def test_a_continuation_leaves_nothing_of_the_one_it_replaces(tmp_path: Path) -> None:
    fit(tmp_path, steps=8, keep=5)
    assert list(by_step(tmp_path)) == [8, 7, 6, 5, 4]
    fit(tmp_path, steps=5, keep=5, ckpt=tmp_path / step_name(4))
    assert list(by_step(tmp_path)) == [5, 4]


def test_other_files_are_no_checkpoints(tmp_path: Path) -> None:
    for name in ("best.ckpt", "step-7.ckpt", ".step-00000009.ckpt.partial", "step-00000009.ckpt.bak"):
        (tmp_path / name).touch()
    (tmp_path / step_name(9)).mkdir()
    assert newest(tmp_path) is None and by_step(tmp_path) == {}
    assert newest(tmp_path / "none") is None


@contextmanager
def no_room(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes: writing more is an OSError, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_for_a_while_costs_a_checkpoint_not_the_run(tmp_path: Path, caplog: Any) -> None:
    """From step 3 to step 5 nothing can be written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    full = {("train", 2): lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))}
    room = {("train", 5): lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))}
    held: list[list[int]] = []
    look = {("train", 4): lambda: held.append(list(by_step(tmp_path)))}
    try:
        with caplog.at_level(logging.WARNING):
            fit(tmp_path, steps=7, keep=2, at=full | room | look)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert held == [[2, 1]]
    assert [f.name for f in sorted(tmp_path.iterdir())] == [step_name(6), step_name(7)]
    assert (
        f"{tmp_path / step_name(3)}: can't be written (File too large); what was saved before is kept"
        in caplog.text
    )


def test_without_the_last_checkpoint_a_run_is_not_done(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    full = {("train", 2): lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))}
    try:
        with pytest.raises(
            InputError, match=r"step-00000003\.ckpt: can't be written \(File too large\).*make room"
        ):
            fit(tmp_path, steps=3, every=2, at=full)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert newest(tmp_path) == tmp_path / step_name(2)


def test_what_stands_in_the_way_is_said(tmp_path: Path, caplog: Any) -> None:
    """A folder that is a file: no right of the user, not even root's, helps."""
    (tmp_path / "x").touch()
    io = AtomicCheckpointIO()
    with caplog.at_level(logging.WARNING):
        io.save_checkpoint({"a": 1}, tmp_path / "x" / step_name(1))
    assert io.failure is not None and step_name(1) in io.failure
    io.save_checkpoint({"a": 1}, tmp_path / step_name(1))
    assert io.failure is None


def test_a_failed_write_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    file = tmp_path / "a.ckpt"
    write_checkpoint({"x": torch.zeros(4)}, file)
    before = file.read_bytes()
    with no_room(2000), pytest.raises(OSError, match="File too large"):
        write_checkpoint({"x": torch.zeros(4000)}, file)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


class Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.marker,))


def test_a_hostile_checkpoint_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    marker, file = tmp_path / "ran", tmp_path / step_name(2)
    fit(tmp_path, steps=2)
    content = torch.load(file, weights_only=True)
    torch.save({**content, "callbacks": {"RunCheckpoints": Hostile(marker)}}, file)
    with pytest.raises(CheckpointError, match=r"step-00000002\.ckpt: damaged, or holds more than tensors"):
        fit(tmp_path, steps=4, ckpt=file)
    assert not marker.exists()


class Drawing(Line):
    """Draws from torch's generator, and from Python's and NumPy's, in both loops."""

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        noise = torch.randn(()) + random.random() + float(np.random.rand())  # noqa: NPY002
        return super().training_step(batch, batch_idx) * noise

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        torch.randn(3), random.random(), np.random.rand()  # noqa: NPY002


def test_validation_does_not_disturb_training(tmp_path: Path) -> None:
    weights = []
    for validations in (0, 4):
        pl.seed_everything(3, verbose=False)
        module = Drawing()
        trainer = pl.Trainer(
            accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, max_steps=9,
            callbacks=[RunCheckpoints(folder=str(tmp_path / str(validations)), every_steps=9)], val_check_interval=2,
            limit_val_batches=validations, num_sanity_val_steps=0, default_root_dir=tmp_path,
        )  # fmt: skip
        trainer.fit(module, PlainLoader(loader(12).dataset), PlainLoader(loader(4).dataset))
        weights.append([p.detach().clone() for p in module.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_generators_go_on_where_they_were() -> None:
    def drawn() -> list[float]:
        return [random.random(), random.gauss(0, 1), float(np.random.randn()), float(torch.rand(()))]  # noqa: NPY002

    drawn()
    state = rng_state()
    first = drawn()
    assert drawn() != first
    set_rng_state(state)
    assert drawn() == first


def test_a_window_of_the_meter_goes_on_after_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("one2345.training.meters.time.perf_counter", lambda: now[0])

    class Batch:
        ids = ("a", "b")

    class Module:
        def __init__(self) -> None:
            self.logged: dict[str, float] = {}

        def log(self, name: str, value: float) -> None:
            self.logged[name] = value

    class Run:
        accumulate_grad_batches = 1
        train_dataloader = SimpleNamespace(waited=7.0)

    def step(meter: ThroughputMeter, module: Module, seconds: float, waited: float = 0.0) -> None:
        """`waited` for the next batch, then `seconds` of work on it."""
        now[0] += waited
        Run.train_dataloader.waited += waited
        meter.on_train_batch_start(Run, module, Batch(), 0)  # type: ignore[arg-type]
        now[0] += seconds
        meter.on_train_batch_end(Run, module, None, Batch(), 0)  # type: ignore[arg-type]

    module, meter = Module(), ThroughputMeter(window=3)
    step(meter, module, 1.0)
    meter.on_validation_start(Run, module)  # type: ignore[arg-type]
    now[0] += 100.0
    step(meter, module, 2.0)
    state = meter.state_dict()
    now[0] += 1000.0
    other = ThroughputMeter(window=3)
    other.load_state_dict(state)
    assert module.logged == {}
    step(other, module, 3.0)
    assert module.logged["speed/objects_per_second"] == 6 / 6.0
    assert module.logged["speed/step_seconds"] == 2.0 and module.logged["speed/waiting_for_data"] == 0.0
    step(other, module, 1.0, waited=1.0)
    step(other, module, 1.0)
    step(other, module, 1.0, waited=2.0)
    assert module.logged["speed/waiting_for_data"] == 0.5 and module.logged["speed/objects_per_second"] == 1.0
