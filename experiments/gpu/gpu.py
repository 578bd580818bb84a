"""What a GPU has to show of training, each item one short command: python experiments/gpu/gpu.py ITEM [--out DIR].

precision: fp32 and bf16 side by side over the same batches, whose losses should end within 2 %. compile: both, with and
without torch.compile. throughput: steps a second and peak memory for several batch sizes. `--device cpu --tiny` runs
the same at the smallest sizes on a CPU. Each writes DIR/ITEM.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch

import one2345
from one2345.build import build
from one2345.cli.compose import compose, to_plain
from one2345.cli.fitting import built
from one2345.data import Recipe, ShapesSource, prepare_objects
from one2345.files import write_atomic
from one2345.training import ReconstructionModule
from one2345.training.meters import peak_memory_mib

HERE = Path(__file__).resolve().parent
CLOSE = 0.02
"""How far the losses of two precisions may differ, as a share."""


def configuration(options: argparse.Namespace, batch: int | None = None) -> dict[str, Any]:
    """That of train.py at the scale that is asked for, on the objects of options.data."""
    scale = ["scale=laptop", "debug=limit"] if options.tiny else [f"scale={options.scale}"]
    told = [
        *scale,
        "data=folder",
        f"data.root='{options.data}'",
        "+run.dir=none",
        f"data.num_workers={options.workers}",
    ]
    if batch is not None:
        told.append(f"scale.batch={batch}")
    return to_plain(compose("train", told).config)


def batches(config: dict[str, Any], device: torch.device) -> Iterator[Any]:
    """Batches of training without end, the same ones again for the same configuration."""
    loader = build(config["data"], allow_any=True).train_dataloader()
    for epoch in itertools.count():
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            yield batch.to(device, non_blocking=True)


def train(
    config: dict[str, Any], device: torch.device, *, steps: int, precision: str, compile: bool, warm: int
) -> dict[str, Any]:
    """Losses of `steps` steps; the median seconds of one after the first `warm`; the peak memory."""
    torch.manual_seed(config["seed"])
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    module = ReconstructionModule(
        model=build(config["model"], allow_any=True), loss=build(config["loss"], allow_any=True),
        optim=build(config["optim"], allow_any=True), compile=compile,
        **{name: built(node) for name, node in config["training"].items()},
    ).to(device)  # fmt: skip
    optimiser, schedule = module.optim(module.parameters(), steps)
    half = precision == "bf16-mixed"
    losses, seconds = [], []
    for step, batch in enumerate(itertools.islice(batches(config, device), steps)):
        begun = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16) if half else nullcontext():
            total, _ = module.losses(batch, step)
        total.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), config["trainer"]["gradient_clip_val"])
        optimiser.step()
        schedule.step()
        losses.append(float(total.detach()))  # waits for the device
        seconds.append(time.perf_counter() - begun)
    return {
        "precision": precision, "compile": compile, "steps": steps, "loss": losses,
        "first_step_seconds": seconds[0], "step_seconds": median(seconds[min(warm, steps - 1) :]),
        "peak_memory_mib": peak_memory_mib(),
    }  # fmt: skip


def end(run: dict[str, Any]) -> float:
    """Mean loss over the last tenth of a run."""
    losses = run["loss"]
    return mean(losses[-max(1, len(losses) // 10) :])


def precision(options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    return _side_by_side(options, device, [("32-true", False), ("bf16-mixed", False)])


def compile(options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    return _side_by_side(options, device, [(p, c) for p in ("32-true", "bf16-mixed") for c in (False, True)])


def throughput(options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    rows = []
    for batch in options.batch:
        config = configuration(options, batch)
        try:
            run = train(
                config, device, steps=options.steps, precision=options.precision, compile=options.compile,
                warm=options.warm,
            )  # fmt: skip
        except torch.OutOfMemoryError as error:
            rows.append({"batch": batch, "out_of_memory": str(error).splitlines()[0]})
            continue
        rows.append(
            {"batch": batch, "steps_per_second": 1 / run["step_seconds"],
             "objects_per_second": batch / run["step_seconds"], **{k: v for k, v in run.items() if k != "loss"}}
        )  # fmt: skip
    return {"rows": rows}


def _side_by_side(
    options: argparse.Namespace, device: torch.device, ways: Sequence[tuple[str, bool]]
) -> dict[str, Any]:
    config = configuration(options)
    runs = [
        train(config, device, steps=options.steps, precision=p, compile=c, warm=options.warm) for p, c in ways
    ]
    differs = [abs(end(run) / end(runs[0]) - 1) for run in runs]
    return {
        "runs": runs, "end_loss": [end(run) for run in runs], "differs": differs, "close": max(differs) <= CLOSE,
        "speed": [runs[0]["step_seconds"] / run["step_seconds"] for run in runs],
    }  # fmt: skip


def machine(device: torch.device) -> dict[str, Any]:
    """Device, driver, versions."""
    driver = None
    if device.type == "cuda" and (tool := shutil.which("nvidia-smi")):
        asked = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split("\n")[0]
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine()
    )
    return {
        "device": name, "driver": driver, "cuda": torch.version.cuda, "torch": torch.__version__,
        "one2345": one2345.__version__, "python": platform.python_version(),
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    items = {"precision": (precision, 500), "compile": (compile, 200), "throughput": (throughput, 40)}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("item", choices=items)
    parser.add_argument("--scale", default="paper", help="of conf/scale (default: %(default)s)")
    parser.add_argument(
        "--data", type=Path, help="prepared objects; default: shapes, prepared into data/gpu-SCALE"
    )
    parser.add_argument("--objects", type=int, default=32, help="so many shapes (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="default: 500, 200 or 40 by item")
    parser.add_argument(
        "--warm", type=int, default=10, help="steps that are not timed (default: %(default)s)"
    )
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 2, 4, 8], help="of throughput")
    parser.add_argument(
        "--precision", choices=["32-true", "bf16-mixed"], default="bf16-mixed", help="of throughput"
    )
    parser.add_argument("--compile", action="store_true", help="of throughput")
    parser.add_argument("--workers", type=int, default=8, help="processes that load (default: %(default)s)")
    parser.add_argument("--device", default="cuda", help="cuda or cpu (default: %(default)s)")
    parser.add_argument("--tiny", action="store_true", help="the smallest sizes: does it run at all?")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args(arguments)
    action, steps = items[options.item]
    options.steps = options.steps or steps
    device = torch.device(options.device)
    if options.data is None:
        options.data = Path("data") / f"gpu-{'tiny' if options.tiny else options.scale}"
        node = to_plain(compose("train", [f"scale={options.scale}", "+run.dir=none"]).config)["data"][
            "recipe"
        ]
        recipe = Recipe(size=32) if options.tiny else build(node, allow_any=True)
        source = ShapesSource(train=options.objects, val=0, test=0)
        prepare_objects(source, out=options.data, recipe=recipe)
    report = {
        "item": options.item, "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M}", "machine": machine(device),
        "command": " ".join(["python", "experiments/gpu/gpu.py", *(sys.argv[1:] if arguments is None else arguments)]),
        "scale": "tiny" if options.tiny else options.scale, **action(options, device),
    }  # fmt: skip
    write_atomic(options.out / f"{options.item}.json", json.dumps(report, indent=1) + "\n")
    shown = {key: value for key, value in report.items() if key != "runs"}
    print(json.dumps(shown, indent=1))
    return report


if __name__ == "__main__":
    main()
