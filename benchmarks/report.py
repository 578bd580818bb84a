"""The report of run.py as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import counts
from scene import Sizes
from timing import Ceilings

Row = Mapping[str, Any]


def chief(row: Row) -> float:
    """Median seconds of the device, else of the CPU."""
    seconds = row["seconds"]
    return seconds.get("device", seconds["cpu"])["median"]


def stick_of(row: Row, rows: Sequence[Row]) -> Row | None:
    """The row of the measuring stick that a row is compared with, the first one of its stage and sizes."""
    same = [r for r in rows if r["stage"] == row["stage"] and r["sizes"] == row["sizes"]]
    return next((r for r in same if r["contestant"].startswith("stick")), None)


def floor(row: Row, best: Ceilings) -> float | None:
    """Seconds that a stage takes at least at the rate of a large matrix product: of the published network by
    `counts.least`, of others by the FLOPs that they do themselves."""
    if row["contestant"].startswith(("stick", "spconv", "sparseneus")):
        return best.floor(counts.least(row["stage"], Sizes(**row["sizes"])), 0)
    return best.floor(row["flops"], 0) if "flops" in row else None


def table(rows: Sequence[Row], best: Ceilings) -> list[str]:
    """Lines of Markdown. "1/4" of the stick: a quarter of its time or memory."""
    lines = [
        "| stage | views | lattice | contestant | CPU s | wall s | of the stick | takes GiB | of the stick | peak GiB "
        "| of the stick | GFLOP | GB moved | share of the roofline |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        stick, seconds, sizes = stick_of(row, rows), row["seconds"], row["sizes"]
        own = stick is None or stick is row
        clock, growth = seconds.get("device", seconds["cpu"]), seconds["growth"]["median"]
        mesh = row["stage"] in ("grid", "colours", "extraction", "mesh")
        least = floor(row, best)
        cells = [
            row["stage"], str(sizes["views"]), str(sizes["lattice"]) if mesh else "", row["contestant"],
            f"{clock['median']:.3g} ({clock['low']:.3g} to {clock['high']:.3g})", f"{seconds['wall']['median']:.3g}",
            "" if own else f"1/{chief(stick) / chief(row):.1f}", f"{growth / 2**30:.2f}",
            "" if own else f"1/{stick['seconds']['growth']['median'] / max(growth, 2**20):.1f}",
            f"{row['peak'] / 2**30:.2f}" if "peak" in row else "",
            f"1/{stick['peak'] / row['peak']:.1f}" if not own and "peak" in row and "peak" in stick else "",
            f"{row['flops'] / 1e9:.1f}" if "flops" in row else "",
            f"{row['bytes'] / 1e9:.1f}" if "flops" in row else "",
            "" if least is None else f"{least / chief(row):.1%}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def markdown(report: Mapping[str, Any], best: Ceilings) -> str:
    where = report["machine"]
    dates = sorted(row["date"] for row in report["rows"])
    loads = [row["load"] for row in report["rows"] if row["load"] is not None]
    lines = [
        "# Speed of the networks, stage by stage",
        "",
        f"{where['processor']}, {where['cores']} cores, {report['threads']} threads, load {min(loads, default=0):.0f} "
        f"to {max(loads, default=0):.0f}; device {report['device']}; {dates[0]} to {dates[-1]} UTC; environment "
        f"{report['environment'] or 'as it is'}; {', '.join(f'{k} {v}' for k, v in where['packages'].items())}.",
        f"Ceilings measured: {best.flops / 1e9:.0f} GFLOP/s, {best.bytes / 1e9:.1f} GB/s per "
        f"{'CPU second' if report['device'] == 'cpu' else 'second'}.",
        "",
        *(f"    {command}" for command in report["commands"]),
        "",
        *table(report["rows"], best),
    ]
    return "\n".join(lines) + "\n"
