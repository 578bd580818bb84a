"""Every stage of both networks beside the measuring stick: python benchmarks/run.py [STAGE...] [--views 8 32].

Each stage in a process of its own, the contestants in turn; the peak memory, FLOPs and bytes of each in one more.
`--quick` leaves those out: seconds and ratios only. Nothing is written without --out; with --add rows that OUT.json has
of other stages and sizes stay.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from contestants import STAGES, prepare
from harness import as_json, machine
from report import markdown, table
from scene import Sizes, scene
from timing import Ceilings, ceilings, counted, peak, race

from one2345.files import write_atomic

PACKAGES = ("one2345", "torch", "numpy", "scikit-image", "spconv")


def contestants(stage: str, chosen: Sequence[str] | None) -> list[str]:
    """Those of a stage, as far as installed and chosen (by first word)."""
    names = [n for n in STAGES[stage] if n != "spconv" or importlib.util.find_spec("spconv")]
    return [n for n in names if not chosen or n.split()[0] in chosen]


def time_stage(stage: str, names: Sequence[str], sizes: Sizes, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of every contestant."""
    made = scene(sizes, options.device)
    calls = {name: prepare(stage, name, sizes, made, options.device) for name in names}
    laps = race(calls, repeats=options.repeats, budget=options.budget, device=options.device)
    return {name: found.spread() for name, found in laps.items()}


def probe(stage: str, name: str, sizes: Sizes, options: argparse.Namespace) -> dict[str, Any]:
    """Memory, FLOPs and bytes of one contestant, in this process."""
    call = prepare(stage, name, sizes, scene(sizes, options.device), options.device)
    found: dict[str, Any] = {}

    def both() -> None:
        found["flops"], found["bytes"] = counted(call)

    try:
        most, _ = peak(both, options.device)
    except NotImplementedError as error:  # what is compiled can't be counted
        most, _ = peak(call, options.device)
        found["uncounted"] = str(error)
    return found | {"before": most.before, "peak": most.most}


def measured(device: str) -> dict[str, Any]:
    """The machine's ceilings."""
    return asdict(ceilings(device))


class Children:
    """Calls in processes of their own, one at a time; they start from one that has only imported what they need."""

    def __init__(self) -> None:
        path = os.environ.get("PYTHONPATH")
        here = str(Path(__file__).parent)
        os.environ["PYTHONPATH"] = here + (
            os.pathsep + path if path else ""
        )  # else the import ahead finds nothing
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["contestants"])

    def __call__(self, call: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
        with ProcessPoolExecutor(1, mp_context=self.context) as pool:
            return pool.submit(call, *arguments).result()


def run(stages: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """The whole report."""
    child = Children()
    best = Ceilings(**child(measured, options.device))
    command = "python benchmarks/run.py " + " ".join(options.arguments)
    report: dict[str, Any] = {
        "machine": machine(PACKAGES),
        "device": torch.cuda.get_device_name() if options.device != "cpu" else "cpu",
        "threads": torch.get_num_threads(),
        "commands": [command],
        "environment": {k: v for k, v in os.environ.items() if k.startswith(("OMP_", "GOMP_", "MALLOC_"))},
        "ceilings": asdict(best),
        "rows": [],
    }
    if options.add and options.out and options.out.with_suffix(".json").is_file():
        before = json.loads(options.out.with_suffix(".json").read_text())
        report |= {"commands": [*before["commands"], command], "rows": before["rows"]}
    for stage in stages:
        for views in options.views:
            sizes = Sizes(**{f.name: getattr(options, f.name) for f in fields(Sizes)} | {"views": views})
            names = contestants(stage, options.contestants)
            load = machine(())["load"]
            timed = child(time_stage, stage, names, sizes, options)
            new = []
            for name in names:
                row = {
                    "stage": stage, "sizes": asdict(sizes), "contestant": name, "seconds": timed[name],
                    "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M}", "load": load,
                }  # fmt: skip
                if not options.quick:
                    row |= child(probe, stage, name, sizes, options)
                new.append(row)
            kept = [r for r in report["rows"] if all(identity(r) != identity(n) for n in new)]
            report["rows"] = sorted(
                [*kept, *new], key=lambda r: (list(STAGES).index(r["stage"]), *r["sizes"].values())
            )
            print("\n".join(table(new, best)[2:]), flush=True)
            if options.out:
                save(report, best, options.out)
    return report


def identity(row: dict[str, Any]) -> tuple[Any, ...]:
    """What is measured once in a report."""
    return row["stage"], row["sizes"], row["contestant"]


def save(report: dict[str, Any], best: Ceilings, out: Path) -> None:
    write_atomic(out.with_suffix(".json"), as_json(report))
    write_atomic(out.with_suffix(".md"), markdown(report, best))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=", ".join(STAGES))
    parser.add_argument("--contestants", nargs="+", help="by first word: stick, sparseneus, sdf_base, spconv")
    for field in fields(Sizes):
        several = {"nargs": "+"} if field.name == "views" else {}
        default = [8, 32] if field.name == "views" else field.default
        parser.add_argument(f"--{field.name}", type=int, default=default, **several)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--budget", type=float, default=30.0, help="CPU seconds per contestant and stage")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--add", action="store_true")
    parser.add_argument("--out", type=Path, help="without suffix: OUT.json and OUT.md")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.stages) - set(STAGES))
    if unknown:
        parser.error(f"no stage {unknown[0]!r}; there are {', '.join(STAGES)}")
    options.arguments = sys.argv[1:] if arguments is None else list(arguments)
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    run(options.stages or list(STAGES), options)


if __name__ == "__main__":
    main()
