"""The report of run.py as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from timing import Ceilings


def chief(row: Mapping[str, Any]) -> float:
    """Median seconds of the device, else of the CPU."""
    seconds = row["seconds"]
    return seconds.get("device", seconds["cpu"])["median"]


def stick_of(row: Mapping[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The row of the measuring stick that a row is compared with, the first one of its stage and sizes."""
    same = [r for r in rows if r["stage"] == row["stage"] and r["sizes"] == row["sizes"]]
    return next((r for r in same if r["contestant"].startswith("stick")), None)


def markdown(report: Mapping[str, Any], best: Ceilings) -> str:
    where = report["machine"]
    lines = [
        "# Speed of the networks, stage by stage",
        "",
        f"{where['processor']}, {where['cores']} cores, {report['threads']} threads, load at the start "
        f"{where['load'] or 0:.1f}, device {report['device']}; {report['date']} UTC; `{report['command']}`; "
        f"environment {report['environment'] or 'as it is'}; "
        f"{', '.join(f'{k} {v}' for k, v in where['packages'].items())}.",
        f"Ceilings measured: {best.flops / 1e9:.0f} GFLOP/s, {best.bytes / 1e9:.1f} GB/s per "
        f"{'CPU second' if report['device'] == 'cpu' else 'second'}.",
        "",
        "| stage | views | contestant | CPU s | wall s | of the stick | takes GiB | of the stick | peak GiB (before) "
        "| of the stick | GFLOP | GB moved | share of the roofline |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    rows = report["rows"]
    for row in rows:
        stick = stick_of(row, rows)
        seconds = row["seconds"]
        cells = [row["stage"], str(row["sizes"]["views"]), row["contestant"]]
        clock = seconds.get("device", seconds["cpu"])
        cells += [f"{clock['median']:.3g} ({clock['low']:.3g} to {clock['high']:.3g})"]
        cells += [f"{seconds['wall']['median']:.3g}"]
        own = stick is None or stick is row
        cells += ["" if own else f"1/{chief(stick) / chief(row):.1f}"]
        growth = seconds["growth"]["median"]
        cells += [f"{growth / 2**30:.2f}"]
        cells += ["" if own else f"1/{stick['seconds']['growth']['median'] / max(growth, 2**20):.1f}"]
        if "peak" in row:
            cells += [f"{row['peak'] / 2**30:.2f} ({row['before'] / 2**30:.2f})"]
            cells += ["" if own or "peak" not in stick else f"1/{stick['peak'] / row['peak']:.1f}"]
        else:
            cells += ["", ""]
        if "flops" in row:
            share = best.floor(row["flops"], 0) / chief(row)
            cells += [f"{row['flops'] / 1e9:.1f}", f"{row['bytes'] / 1e9:.1f}", f"{share:.0%}"]
        else:
            cells += ["", "", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


__all__ = ["chief", "markdown", "median", "stick_of"]
