"""The training command itself, killed from outside at random moments of it and started again.

As a script: killed_training.py OUT KIND KILLS STEPS SEED, with KIND reconstruction or views. It imports once and forks
for every start of the command. A moment is so many events of the training after its start, and then some part of the
time between two events: so it is as random on a fast machine as on a slow one. Prints one line per difference from the
run that was never killed, and `killed N times` at the end.
"""

from __future__ import annotations

import csv
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from tests.training.killed_runs import HOOKS, differences

from one2345.checkpoint_folder import by_step, newest
from one2345.cli import app, train
from one2345.cli.summary import quiet_lightning

PIPE = "KILLED_TRAINING_PIPE"
PER_STEP = 7  # events, with two batches a step


def told() -> pl.Callback:
    """A callback that writes one byte for each hook."""
    pipe = int(os.environ[PIPE])
    return type("Told", (pl.Callback,), {n: lambda *_, **__: os.write(pipe, b".") and None for n in HOOKS})()


def command(out: Path, kind: str, name: str, steps: int) -> list[str]:
    """A tiny training on shapes that it makes itself: two batches a step, validation and checkpoints often."""
    common = [
        "debug=limit", "scale=laptop", "resume=auto", "run.overwrite=false", f"data.root={out / 'shapes'}",
        f"run.root={out}", f"run.id={name}", "trainer.accelerator=cpu", "trainer.accumulate_grad_batches=2",
        "scale.pixels=32", "data.prepare_workers=1", "data.source.seed=3", "callbacks.last.every_steps=2",
        "+callbacks.told._target_=tests.training.killed_training.told",
    ]  # fmt: skip
    if kind == "views":
        return [
            *common, "experiment=zero123_mini", f"scale.synthesis.steps={steps}", "scale.synthesis.val_every=5",
            "scale.synthesis.train_objects=3", "model.channels=[16]", "scale.synthesis.pixels=16",
        ]  # fmt: skip
    return [
        *common, f"scale.steps={steps}", "scale.val_every=5", "scale.targets=1", "data.sizes.targets=1",
        "scale.train_objects=3", "scale.extract=16", "+callbacks.previews.size=16", "evaluate.sphere=false",
        "+callbacks.previews.resolution=16", "+callbacks.previews.views=1", "evaluate.hull=false",
        "evaluate.pictures=false",
    ]  # fmt: skip


def start(argv: list[str], log: Path, after: int | None = None, part: float = 0.0) -> bool:
    """Run the command in a process of its own; killed `after` so many events. Whether it was killed."""
    reads, writes = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(reads)
        os.environ[PIPE] = str(writes)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1), os.dup2(file, 2)
        torch.set_num_threads(1)
        status = 1
        try:
            status = app.execute(train.COMMAND, argv)
        finally:
            os._exit(status)
    os.close(writes)
    times = []
    while (after is None or len(times) < after) and os.read(reads, 1):
        times.append(time.monotonic())
    if after is not None and len(times) == after:
        time.sleep(part * (times[-1] - times[0]) / max(1, len(times) - 1))
        os.kill(pid, signal.SIGKILL)
    os.close(reads)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise SystemExit(f"status {status}\n{log.read_text()[-3000:]}")
    return status != 0


def outcome(folder: Path) -> dict[str, Any]:
    """What a run leaves that another one must leave as well, speeds apart."""
    checkpoints = folder / "checkpoints"
    stored = torch.load(newest(checkpoints), weights_only=True)  # type: ignore[arg-type]
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [{k: v for k, v in row.items() if v and "speed/" not in k} for row in csv.DictReader(file)]
    found = {
        "steps": sorted(by_step(checkpoints)),
        "loops": {k: v for k, v in stored["loops"]["fit_loop"].items() if "val_loop" not in k},
        "generators": stored["run"]["rng"],
        "metrics": rows,
        **{
            k: stored[k]
            for k in ("state_dict", "optimizer_states", "lr_schedulers", "average")
            if k in stored
        },
    }
    if (best := checkpoints / "best.ckpt").is_file():
        found["best weights"] = torch.load(best, weights_only=True)["state_dict"]
    return found


def main(out: str, kind: str, kills: str, steps: str, seed: str) -> None:
    warnings.filterwarnings("ignore")
    quiet_lightning()
    root, rng, wanted, total = Path(out), random.Random(int(seed)), int(kills), int(steps)
    whole = command(root, kind, "whole", total)
    start(whole, root / "whole.log")
    killed = command(root, kind, "killed", total)
    (folder,) = root.glob("*/whole")
    folder = folder.with_name("killed")
    count = 0
    while count < wanted:
        done = max(by_step(folder / "checkpoints"), default=0)
        most = max(2, (total - done) * PER_STEP * 2 // (wanted - count + 1))
        if not start(killed, root / "killed.log", rng.randint(1, most), rng.random()):
            break
        count += 1
    start(killed, root / "killed.log")
    for line in differences(outcome(folder.with_name("whole")), outcome(folder)):
        print(line)
    print(f"killed {count} times")


if __name__ == "__main__":
    main(*sys.argv[1:])
