"""Examples per second from folder and shards, beside what a training step needs: python benchmarks/loader.py --help."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from harness import as_json, machine

from one2345.build import build
from one2345.cli.compose import compose, to_plain
from one2345.data import Draw, Recipe, SceneSizes, ShapesSource, prepare_objects
from one2345.data.cache import CachedObject
from one2345.data.datamodule import ReconstructionDataModule
from one2345.data.pack import pack_objects
from one2345.data.stores import FolderStore, ShardStore
from one2345.files import write_atomic
from one2345.training.module import ReconstructionModule

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("one2345", "torch", "numpy", "pillow", "litdata")
SIZES = SceneSizes(views=8, rays=128, sdf_points=4096, surface_points=512)  # of scale=laptop
BATCH = 2


def prepared(folder: Path, *, pixels: int, objects: int) -> dict[str, Path]:
    """Analytic shapes with the labels of scale=laptop, as a folder and packed both ways."""
    root = folder / f"folder-{pixels}"
    source = ShapesSource(seed=0, train=objects, val=0, test=0)
    prepare_objects(source, out=root, recipe=Recipe(size=pixels), progress=False)
    stores = {"folder": root}
    for images in ("png", "webp"):
        stores[f"shards, {images}"] = folder / f"{images}-{pixels}"
        pack_objects(root, out=stores[f"shards, {images}"], images=images, chunk_mb=16, progress=False)
    return stores


def module(root: Path, *, draws: int, workers: int, cache_mb: float) -> Any:
    return ReconstructionDataModule(
        root=root,
        sizes=SIZES,
        batch_size=BATCH,
        samples_per_epoch=draws,
        num_workers=workers,
        cache_mb=cache_mb,
    )


def rate(root: Path, *, draws: int, workers: int) -> float:
    """Examples per second; every one is read and decoded anew. The first pass starts the processes."""
    loader = module(root, draws=draws, workers=workers, cache_mb=0).train_dataloader()
    for _ in loader:
        pass
    start = time.perf_counter()
    seen = sum(len(batch) for batch in loader)
    return seen / (time.perf_counter() - start)


@contextmanager
def timed(spent: dict[str, float], owner: Any, name: str) -> Iterator[None]:
    """Processor seconds that pass in owner.name while the block runs, under its name."""
    whole: Callable[..., Any] = getattr(owner, name)

    def measured(*args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        try:
            return whole(*args, **kwargs)
        finally:
            spent[name] = spent.get(name, 0.0) + time.process_time() - start

    setattr(owner, name, measured)
    try:
        yield
    finally:
        setattr(owner, name, whole)


def shares(root: Path, store: type, *, draws: int) -> dict[str, float]:
    """Processor milliseconds an example: reading the object, decoding its pictures, its labels, and all of it."""
    data = module(root, draws=draws, workers=0, cache_mb=0).dataset("train")
    spent: dict[str, float] = {}
    with (
        timed(spent, store, "record"),
        timed(spent, CachedObject, "load"),
        timed(spent, CachedObject, "labels"),
    ):
        start = time.process_time()
        for i in range(draws):
            data[Draw(i % len(data), 0, i // len(data))]
        total = time.process_time() - start
    names = {"record": "read", "load": "decode", "labels": "labels"}
    return {names[k]: 1e3 * v / draws for k, v in spent.items()} | {"all": 1e3 * total / draws}


def step_seconds(root: Path, *, steps: int) -> float:
    """Seconds of a training step of experiment=sdf_base at scale=laptop, on data at hand."""
    config = to_plain(compose("train", ["scale=laptop", "+run.dir=x", "run.id=x"]).config)
    training = {
        k: build(v, allow_any=True) if isinstance(v, dict) else v for k, v in config["training"].items()
    }
    network = ReconstructionModule(
        model=build(config["model"], allow_any=True),
        loss=build(config["loss"], allow_any=True),
        optim=build(config["optim"], allow_any=True),
        **training,
    )
    optimiser = torch.optim.Adam(network.model.parameters(), lr=1e-4)
    batch = next(iter(module(root, draws=BATCH, workers=0, cache_mb=64).train_dataloader()))
    taken = []
    for step in range(steps + 1):
        start = time.perf_counter()
        optimiser.zero_grad()
        network.losses(batch, step)[0].backward()
        optimiser.step()
        taken.append(time.perf_counter() - start)
    return sorted(taken[1:])[steps // 2]


def markdown(report: dict[str, Any]) -> str:
    where = report["machine"]
    lines = [
        "# Speed of loading",
        "",
        f"{where['processor']}, {where['cores']} cores, load at the start {where['load']:.1f}; {report['date']}; "
        f"`{report['command']}`. {report['workers']} loading processes, batches of {BATCH}, nothing kept between "
        "draws; the milliseconds are processor time of one example in one process.",
        "",
        "| pixels | store | MiB an object | examples/s | read ms | decode ms | labels ms | all ms | decode share |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rates"]:
        ms = row["ms"]
        lines.append(
            f"| {row['pixels']} | {row['store']} | {row['mib']:.2f} | {row['rate']:.1f} | {ms['read']:.1f} "
            f"| {ms['decode']:.1f} | {ms['labels']:.1f} | {ms['all']:.1f} | {ms['decode'] / ms['all']:.0%} |"
        )
    step = report["step"]
    lines += [
        "",
        f"A training step of sdf_base at scale=laptop took {step:.2f} s on this machine's processor: it needs "
        f"{BATCH / step:.2f} examples/s.",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=12)
    parser.add_argument("--draws", type=int, default=120)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "loader")
    options = parser.parse_args(arguments)
    report: dict[str, Any] = {
        "machine": machine(PACKAGES),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "command": " ".join(
            ["python", "benchmarks/loader.py", *(sys.argv[1:] if arguments is None else arguments)]
        ),
        "workers": options.workers,
        "rates": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        for pixels in (128, 256):
            stores = prepared(Path(folder), pixels=pixels, objects=options.objects)
            if pixels == 128:
                report["step"] = step_seconds(stores["folder"], steps=options.steps)
            for name, root in stores.items():
                size = sum(f.stat().st_size for f in root.rglob("*") if f.is_file())
                row = {
                    "pixels": pixels,
                    "store": name,
                    "mib": size / options.objects / 2**20,
                    "rate": rate(root, draws=options.draws, workers=options.workers),
                    "ms": shares(
                        root, FolderStore if name == "folder" else ShardStore, draws=options.draws // 2
                    ),
                }
                report["rates"].append(row)
                print(row, file=sys.stderr, flush=True)
    write_atomic(options.out.with_suffix(".json"), as_json(report))
    write_atomic(options.out.with_suffix(".md"), markdown(report))
    print(markdown(report))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
