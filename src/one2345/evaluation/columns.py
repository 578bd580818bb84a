"""How columns read in tables: titles with the direction that is better, and numbers with fitting digits."""

from __future__ import annotations

import numpy as np

from .statistics import Statistic
from .summary import Summary

NAMES = {
    "chamfer": "Chamfer",
    "chamfer_squared": "Chamfer²",
    "normal_consistency": "Normals",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "lpips": "LPIPS",
    "clip": "CLIP",
}


def column_title(column: str, more_is_better: bool) -> str:
    """`IoU 64³ ↑`."""
    if column.startswith("iou_"):
        title = f"IoU {column.removeprefix('iou_')}³"
    elif column.startswith("f_"):
        title = f"F {column.removeprefix('f_')}"
    else:
        base = column.removesuffix("_field")
        title = NAMES.get(base, base) + (" field" if base != column else "")
    return f"{title} {'↑' if more_is_better else '↓'}"


def number(column: str, value: float, *, signed: bool = False) -> str:
    """Digits that fit the column; a dash for NaN."""
    if value != value:
        return "–"
    digits = 2 if column.startswith("psnr") else 5 if column == "chamfer_squared" else 4
    return f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"


def count(summary: Summary, name: str) -> str:
    """`22`, or `21 of 22` where a method failed or an object is missing."""
    total, solved = len(summary.objects), len(summary.of(name)) - len(summary.failed(name))
    return str(total) if solved == total else f"{solved} of {total}"


def of_fewer(summary: Summary, name: str, stat: Statistic) -> str:
    """` (n=1)` where a column's mean is over fewer objects than the method solved."""
    return "" if stat.n == len(summary.of(name)) - len(summary.failed(name)) else f" (n={stat.n})"


def winners(summary: Summary) -> dict[str, str]:
    """Column → best shown method by mean over the objects that all of them solved, of those with all of its values."""
    names, common, result = summary.shown(), summary.common(), dict[str, str]()
    for column, more in summary.protocol.metrics.items():
        stats = {name: summary.mean(name, column, common) for name in names}
        means = {name: m for name, m in stats.items() if m is not None}
        if len(means) > 1:
            result[column] = (max if more else min)(means, key=lambda n: means[n])
    return result


def caveats(summary: Summary) -> list[str]:
    """What must be said beside every table of this summary."""
    lines = list(summary.notes)
    for name in summary.shown():
        failed = summary.failed(name)
        if failed:
            solved = len(summary.objects) - len(failed)
            lines.append(
                f"{name}: means are over {solved} of the {len(summary.objects)} objects of the list; not measured: "
                + "; ".join(f"{row.object} ({row.failure})" for row in failed[:5])
                + (f"; and {len(failed) - 5} more" if len(failed) > 5 else "")
            )
        sizes = [float(row.facts["size"]) for row in summary.of(name) if "size" in row.facts]
        fitted = summary.protocol.aligned
        if name not in summary.groups and sizes and not fitted and not 0.5 < float(np.median(sizes)) < 2:
            lines.append(
                f"{name}: its meshes are {np.median(sizes):.3g} times the size of the truth (median) in the frame that "
                "they were taken to be in; evaluate.frame= says which frame it is"
            )
        rows = summary.of(name)
        tilted = [
            f"{r.object} {t:.0f}°" for r in rows if (t := float(r.alignment.get("tilt_degrees", 0))) > 20
        ]
        if tilted:
            lines.append(
                f"{name}: the alignment tipped the up axis over, as of meshes with another one (meshes_up=): "
                + ", ".join(tilted)
            )
        opened = [row.object for row in rows if row.facts.get("occupancy") == "winding number"]
        if opened and summary.protocol.occupancy is not None:
            lines.append(f"{name}: open meshes, their inside by winding numbers: {', '.join(opened)}")
        if mirrored := summary.mirrored(name):
            lines.append(f"{name}: mirror images of the truth (not mended): {', '.join(mirrored)}")
    if any(summary.failed(name) for name in summary.shown()):
        lines.append(
            f"Means of methods that failed on different objects do not compare; `mean_over_common` in results.json "
            f"is over the {len(summary.common())} objects that all methods solved."
        )
    if ambiguous := summary.ambiguous():
        lines.append(f"Several yaws fit equally well: {', '.join(ambiguous)}")
    if thin := summary.thin():
        lines.append(
            f"Thin (2·volume/area below {summary.protocol.thin:.0%} of the edge; left out of 'not thin'): "
            + ", ".join(thin)
        )
    lines += [f"{column}: not computed: {why}" for column, why in summary.not_computed.items()]
    return [" ".join(line.split()) for line in lines]
