"""Trainings that are killed at chosen moments and started again: a process that imports once and forks for every run.

As a script: killed_runs.py OUT every|each|some. For each of `SETTINGS` a small training is killed (SIGKILL, by itself)
at the events that `chosen` says, continued, and what it ends with is compared with the undisturbed run's; then one is
killed again and again. Prints one line per difference and `killed N times` at the end.
"""

from __future__ import annotations

import csv
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint, LearningRateMonitor, ModelCheckpoint
from torch import Tensor
from torch.utils.data import Dataset

from one2345.checkpoint_folder import by_step, newest
from one2345.cli.loggers import MetricsCsv
from one2345.cli.summary import quiet_lightning
from one2345.data.loader import PlainLoader, TrainLoader
from one2345.data.sampler import Draw, ObjectSampler
from one2345.seeding import torch_rng
from one2345.training import AdamCosine, RunCheckpoints, ThroughputMeter
from one2345.training import checkpoint_io as io

EPOCH = 5  # batches
# An epoch's end, a validation and a checkpoint fall on the same step, on different ones, inside an accumulation.
SETTINGS = {
    "plain": {"every": 1, "steps": 11, "val_check_interval": 3, "log_every_n_steps": 1},
    "together": {"every": 5, "steps": 12, "val_check_interval": 5, "log_every_n_steps": 5},
    "accumulating": {"every": 2, "steps": 8, "val_check_interval": 3, "accumulate_grad_batches": 2},
}


@dataclass
class Batch:
    ids: tuple[str, ...]
    x: Tensor

    def to(self, *args: Any, **options: Any) -> Batch:
        return Batch(self.ids, self.x.to(*args, **options))


class Numbers(Dataset):
    """Three numbers for each draw."""

    def __init__(self, count: int) -> None:
        self.ids = [str(i) for i in range(count)]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, draw: Draw) -> Batch:
        return Batch((self.ids[draw.index],), torch.randn(1, 3, generator=torch_rng("x", *draw)))


def joined(batches: Sequence[Batch]) -> Batch:
    return Batch(sum((b.ids for b in batches), ()), torch.cat([b.x for b in batches]))


class Noisy(pl.LightningModule):
    """Draws from every global generator, in training and in validation."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 3)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        noise = torch.randn_like(batch.x) + random.random() + float(np.random.rand())  # noqa: NPY002
        loss = (self.layer(batch.x) - noise).square().mean()
        self.log("loss", loss, batch_size=len(batch.ids))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        torch.randn(3), random.random(), np.random.rand()  # noqa: NPY002
        score = self.layer(batch.x).sin().sum()
        self.log("val/score", score, batch_size=len(batch.ids))

    def configure_optimizers(self) -> Any:
        optimizer, schedule = AdamCosine(lr=0.05, warmup=2)(self.parameters(), 30)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Events:
    """Counts what happens in a run by name; kills the process at number `kill`."""

    def __init__(self, kill: int | None = None) -> None:
        self.kill, self.seen = kill, []

    def __call__(self, name: str) -> None:
        self.seen.append(name)
        if len(self.seen) == self.kill:
            os.kill(os.getpid(), signal.SIGKILL)


HOOKS = (
    "on_train_start", "on_train_epoch_start", "on_train_batch_start", "on_before_backward", "on_before_optimizer_step",
    "on_train_batch_end", "on_validation_start", "on_validation_batch_end", "on_validation_epoch_end",
    "on_validation_end", "on_train_epoch_end", "on_train_end",
)  # fmt: skip


def watcher(base: type, tell: Events, when: str) -> Any:
    """A callback that tells of every hook; one based on Checkpoint is called after what saves."""

    def hook(name: str) -> Callable[..., None]:
        return lambda self, *args, **options: tell(f"{when} {name}")

    return type(f"Watcher{when}", (base,), {name: hook(name) for name in HOOKS})()


def watched_disk(tell: Events) -> None:
    """Tell of every step by which a checkpoint comes to the disk."""

    class Watched:
        def __getattr__(self, name: str) -> Any:
            found = getattr(os, name)
            if name not in ("replace", "fsync"):
                return found

            def told(*args: Any) -> Any:
                tell(f"before {name}")
                result = found(*args)
                tell(f"after {name}")
                return result

            return told

    write = io._Told.write

    def torn(self: Any, data: Any) -> int:
        if len(data) > 2000:  # not what depends on the folder's name
            write(self, bytes(data)[: len(data) // 2])
            self.file.flush()
            tell("within a file")
            return write(self, bytes(data)[len(data) // 2 :]) * 0 + len(data)
        return write(self, data)

    io.os, io._Told.write = Watched(), torn  # type: ignore[assignment]


def training_data() -> TrainLoader:
    data = Numbers(7)
    sampler = ObjectSampler(data, seed=0, shuffle=True, batch=1, samples=EPOCH)
    return TrainLoader(data, sampler=sampler, batch_size=1, collate=joined)


def train(folder: Path, settings: Mapping[str, Any], kill: int | None = None) -> list[str]:
    """Start or continue the run in `folder`; the events of it."""
    torch.set_num_threads(1)
    options = dict(settings)
    every, steps = options.pop("every"), options.pop("steps")
    tell = Events(kill)
    watched_disk(tell)
    pl.seed_everything(1, verbose=False)
    module = Noisy()
    loader = training_data()
    shown = [Numbers(2)[Draw(i, 0, 0)] for i in range(2)]
    validation = PlainLoader(shown, batch_size=1, collate_fn=joined)
    folder.mkdir(parents=True, exist_ok=True)
    best = ModelCheckpoint(
        dirpath=folder, filename="best", monitor="val/score", mode="max", enable_version_counter=False
    )
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=steps, logger=[MetricsCsv(folder=str(folder))], check_val_every_n_epoch=None,
        num_sanity_val_steps=0, enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
        callbacks=[
            watcher(pl.Callback, tell, "first"), ThroughputMeter(window=2), LearningRateMonitor("step"),
            RunCheckpoints(folder=str(folder), every_steps=every), best, watcher(Checkpoint, tell, "last"),
        ],
        **options,
    )  # fmt: skip
    trainer.fit(module, loader, validation, ckpt_path=newest(folder), weights_only=True)
    return tell.seen


def forked(work: Callable[[], Any]) -> int:
    """Run `work` in a process of its own; its exit status, negative for a signal."""
    if (pid := os.fork()) == 0:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the parent goes by the status
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def outcome(folder: Path) -> dict[str, Any]:
    """What a run leaves that another one must leave as well, speeds apart."""
    stored = torch.load(newest(folder), weights_only=True)  # type: ignore[arg-type]
    best = torch.load(folder / "best.ckpt", weights_only=True)
    saved = next(v for k, v in stored["callbacks"].items() if k.startswith("ModelCheckpoint"))
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [{k: v for k, v in row.items() if v and "speed/" not in k} for row in csv.DictReader(file)]
    loops = stored["loops"]["fit_loop"]
    loader = training_data()
    loader.load_state_dict(loops["state_dict"]["combined_loader"][0])
    following = next(iter(loader))
    return {
        "steps": sorted(by_step(folder)),
        "weights": stored["state_dict"],
        "optimiser": stored["optimizer_states"],
        "schedule": stored["lr_schedulers"],
        "generators": stored["run"]["rng"],
        **{f"loops: {name}": loops[name] for name in loops if "val_loop" not in name},
        "next batch": (following.ids, following.x),
        "best": saved["best_model_score"],
        "best weights": best["state_dict"],
        "metrics": rows,
    }


def same(a: Any, b: Any) -> bool:
    """Bit for bit."""
    if isinstance(a, Mapping):
        return isinstance(b, Mapping) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a, b)
    return type(a) is type(b) and a == b


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    return [f"{key}: {a[key]} != {b[key]}"[:600] for key in a if not same(a[key], b[key])]


def events_of(folder: Path, settings: Mapping[str, Any]) -> list[str]:
    """The undisturbed run in `folder`, and what happened in it."""
    listed = folder / "events.txt"
    status = forked(lambda: listed.write_text("\n".join(train(folder, settings))))
    assert status == 0
    return listed.read_text().splitlines()


def chosen(events: Mapping[str, list[str]], how: str) -> list[tuple[str, int]]:
    """Settings and numbers (from 1) of the events to be killed at: `every` one, of `each` kind the second (else the
    first) in all settings, or in `some` of them in turn."""
    every = [(name, number) for name, seen in events.items() for number in range(1, len(seen) + 1)]
    if how == "every":
        return every
    kinds: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for name, number in every:
        kind = events[name][number - 1]
        kinds.setdefault((kind, name if how == "each" else ""), []).append((name, number))
    if how == "each":
        return [found[min(1, len(found) - 1)] for found in kinds.values()]
    taken = []
    for turn, found in enumerate(kinds.values()):
        wanted = list(events)[turn % len(events)]
        own = [point for point in found if point[0] == wanted] or found
        taken.append(own[min(1, len(own) - 1)])
    return taken


def again_and_again(folder: Path, settings: Mapping[str, Any], rng: random.Random) -> int:
    """Kill the run in `folder` again and again, until it gets to its end; how often that was."""
    for count in range(1000):
        kill = rng.randint(30, 150)
        if (status := forked(lambda: train(folder, settings, kill))) == 0:  # noqa: B023
            return count
        assert status == -signal.SIGKILL, status
    raise AssertionError("it never ended")


def main(out: str, how: str) -> None:
    warnings.filterwarnings("ignore")
    quiet_lightning()
    folders = {name: Path(out) / name for name in SETTINGS}
    events = {name: events_of(folder / "whole", SETTINGS[name]) for name, folder in folders.items()}
    wanted = {name: outcome(folder / "whole") for name, folder in folders.items()}
    rng, count = random.Random(5), 0
    for name, number in chosen(events, how):
        folder, settings = folders[name] / str(number), SETTINGS[name]
        where = f"{name}, killed at event {number} ({events[name][number - 1]})"
        if (status := forked(lambda: train(folder, settings, number))) != -signal.SIGKILL:  # noqa: B023
            print(f"{where}: status {status}")
        elif (status := forked(lambda: train(folder, settings))) != 0:  # noqa: B023
            print(f"{where}: status {status} of the run that went on")
        else:
            for line in differences(wanted[name], outcome(folder)):
                print(f"{where}: {line}")
        count += 1
    for name, folder in folders.items():
        times = again_and_again(folder / "again", SETTINGS[name], rng)
        for line in differences(wanted[name], outcome(folder / "again")):
            print(f"{name}, killed {times} times: {line}")
        count += times
    print(f"killed {count} times")


if __name__ == "__main__":
    main(*sys.argv[1:])
