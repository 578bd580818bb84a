"""How time and memory grow with views, voxels, rays and batch: python benchmarks/scaling.py [AXIS...].

Each axis changes one size and times the stages that depend on it; exponents are fitted to the logarithms, of CPU time
(a device's time), of the memory that the call takes, and of the FLOPs and bytes counted. The arithmetic's exponent is
that of the loops: 1 in views, rays and batch, 3 in voxels per axis. Nothing is written without --out.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import as_json, machine
from run import Children, probe, time_stage
from scene import Sizes

from one2345.files import write_atomic


@dataclass(frozen=True)
class Axis:
    """size: the field of `Sizes` that changes. values: what it takes. exponent: of the arithmetic's loops."""

    size: str
    stages: tuple[str, ...]
    values: tuple[int, ...]
    exponent: float


AXES = {
    "views": Axis("views", ("encode", "backward"), (4, 8, 16, 32, 64), 1),
    "volume": Axis("volume", ("encode",), (48, 96, 144, 192), 3),
    "rays": Axis("rays", ("backward",), (64, 128, 256, 512), 1),
    "batch": Axis("batch", ("step",), (1, 2, 4), 1),
}
BASE = Sizes(views=8, pixels=128, volume=64, rays=128, lattice=64)
NETWORKS = ("sparseneus", "sdf_base")
SLACK = 0.1
"""By how much a fitted exponent may lie above the arithmetic's: the fit's own error on a shared machine."""


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Slope of the line through (log size, log value) by least squares."""
    x, y = [math.log(s) for s in sizes], [math.log(max(v, 1e-12)) for v in values]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum((a - mx) ** 2 for a in x)


def measure(axis: Axis, options: argparse.Namespace, child: Children) -> list[dict[str, Any]]:
    """One row per stage and network."""
    rows = []
    values = [v for v in axis.values if v <= (options.largest or v)]
    for stage in axis.stages:
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in NETWORKS}
        for value in values:
            sizes = replace(BASE, **{axis.size: value})
            timed = child(time_stage, stage, NETWORKS, sizes, options)
            for name in NETWORKS:
                seconds = timed[name]
                counts = child(probe, stage, name, sizes, options)
                clock = seconds.get("device", seconds["cpu"])
                found[name].append(
                    {"time": clock["median"], "memory": counts["peak"] - counts["before"],
                     "flops": counts.get("flops", 0), "bytes": counts.get("bytes", 0)}
                )  # fmt: skip
        for name, points in found.items():
            fits = {k: exponent(values, [p[k] for p in points]) for k in points[0]}
            rows.append(
                {"axis": axis.size, "stage": stage, "network": name, "values": values, "points": points,
                 "exponents": fits, "arithmetic": axis.exponent,
                 "within": max(fits["time"], fits["memory"]) <= axis.exponent + SLACK}
            )  # fmt: skip
            print(table(rows[-1:])[-1], flush=True)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Lines of Markdown."""
    lines = [
        "| axis | stage | network | sizes | CPU s | takes GiB | exponent: time | memory | FLOPs | bytes "
        "| arithmetic | within |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        e = row["exponents"]
        cells = [
            row["axis"], row["stage"], row["network"], ", ".join(map(str, row["values"])),
            ", ".join(f"{p['time']:.3g}" for p in row["points"]),
            ", ".join(f"{p['memory'] / 2**30:.2g}" for p in row["points"]),
            f"{e['time']:.2f}", f"{e['memory']:.2f}", f"{e['flops']:.2f}", f"{e['bytes']:.2f}",
            f"{row['arithmetic']:g}", "yes" if row["within"] else "no",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("axes", nargs="*", metavar="AXIS", help=", ".join(AXES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--budget", type=float, default=20.0, help="CPU seconds per network, stage and size")
    parser.add_argument("--largest", type=int, help="leave larger sizes out")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="without suffix: OUT.json and OUT.md")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.axes) - set(AXES))
    if unknown:
        parser.error(f"no axis {unknown[0]!r}; there are {', '.join(AXES)}")
    child = Children()
    rows = [row for name in options.axes or AXES for row in measure(AXES[name], options, child)]
    where = machine(("one2345", "torch"))
    command = "python benchmarks/scaling.py " + " ".join(sys.argv[1:] if arguments is None else arguments)
    report = {
        "machine": where, "date": f"{datetime.now(UTC):%Y-%m-%d}", "command": command, "base": asdict(BASE),
        "rows": rows,
    }  # fmt: skip
    if options.out:
        head = [
            "# How the cost grows", "",
            f"{where['processor']}, {where['cores']} cores, load at the start {where['load'] or 0:.1f}; "
            f"{report['date']}; `{command}`. All other sizes: {asdict(BASE)}. Times are medians; a fitted exponent "
            f"counts as within the arithmetic's up to {SLACK} above it.", "",
        ]  # fmt: skip
        write_atomic(options.out.with_suffix(".json"), as_json(report))
        write_atomic(options.out.with_suffix(".md"), "\n".join([*head, *table(rows)]) + "\n")


if __name__ == "__main__":
    main()
