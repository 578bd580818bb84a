"""Memory of the loading processes over many examples: python benchmarks/loader_memory.py --help (Linux)."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from harness import as_json, machine

from one2345.data import Recipe, SampleSizes, SceneSizes, ShapesSource, prepare_objects
from one2345.data.datamodule import ReconstructionDataModule
from one2345.data.pack import pack_objects
from one2345.files import write_atomic

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("one2345", "torch", "numpy", "pillow", "litdata")
SIZES = SceneSizes(views=8, rays=128, sdf_points=256, surface_points=128)
EVERY = 1000
NOTE = """\
The step of 3.7 MiB a process at some 2,000 examples is CPython's table of interned strings, which doubles: pathlib
interns the parts of every path, and what it has dropped again still fills the table until that is built anew. It
doubles once more (7.3 MiB a process, after some 17,000 examples in it), then it is large enough for ever.
"""


def prepared(folder: Path) -> dict[str, Path]:
    """Small objects, of which a process keeps half, so that they come and go all the time."""
    small = SampleSizes(sdf_points=1024, surface_points=512, occupancy=(32,))
    recipe = Recipe(size=32, train_samples=small, eval_samples=small)
    stores = {"shards": folder / "packed", "folder": folder / "small"}
    source = ShapesSource(seed=0, train=32, val=0, test=0)
    prepare_objects(source, out=stores["folder"], recipe=recipe, progress=False)
    pack_objects(stores["folder"], out=stores["shards"], chunk_mb=1, progress=False)
    return stores


def curve(root: Path, *, examples: int, workers: int) -> dict[int, float]:
    """Resident MiB of the loading processes together after every thousand examples."""
    module = ReconstructionDataModule(
        root=root, sizes=SIZES, batch_size=2, samples_per_epoch=examples, num_workers=workers, cache_mb=2.0
    )
    loader: Any = module.train_dataloader()
    found: dict[int, float] = {}
    seen = 0
    for batch in loader:
        seen += len(batch)
        if seen % EVERY == 0:
            found[seen] = sum(resident(process.pid) for process in loader._iterator._workers)
    return found


def resident(pid: int) -> float:
    """MiB of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def growth(found: dict[int, float], first: int, last: int) -> float:
    return found[last] / found[first] - 1


def markdown(report: dict[str, Any]) -> str:
    where = report["machine"]
    lines = [
        "# Memory of the loading processes",
        "",
        f"{where['processor']}, {where['cores']} cores; {report['date']}; `{report['command']}`. Resident MiB of "
        f"{report['workers']} processes together, which share the examples. Growth is that of {report['examples']:,} "
        f"examples: after the first thousand, and after {report['warm']:,}.",
        "",
        "| store | after 1,000 | growth | after " + f"{report['warm']:,} | growth |",
        "|---|---|---|---|---|",
    ]
    for name, found in report["stores"].items():
        cells = [
            f"{found[first]:.1f} | {growth(found, first, first + report['examples']):+.2%}"
            for first in (EVERY, report["warm"])
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for name, found in report["stores"].items():
        values = ", ".join(f"{value:.1f}" for value in found.values())
        lines += ["", f"{name}, after every {EVERY:,} examples: {values}."]
    return "\n".join([*lines, "", NOTE])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=10_000, help="that memory must not grow over")
    parser.add_argument("--warm", type=int, default=4_000, help="examples before them")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "loader_memory")
    options = parser.parse_args()
    if options.examples % EVERY or options.warm % EVERY or options.warm < EVERY:
        parser.error(f"examples and warm must be multiples of {EVERY}")
    report: dict[str, Any] = {
        "machine": machine(PACKAGES),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "command": " ".join(["python", "benchmarks/loader_memory.py", *sys.argv[1:]]),
        "workers": options.workers,
        "examples": options.examples,
        "warm": options.warm,
        "stores": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, root in prepared(Path(folder)).items():
            report["stores"][name] = curve(
                root, examples=options.warm + options.examples, workers=options.workers
            )
    write_atomic(options.out.with_suffix(".json"), as_json(report))
    write_atomic(options.out.with_suffix(".md"), markdown(report))
    print(markdown(report))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
