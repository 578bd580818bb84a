"""One table and one figure of the runs of a sweep: python experiments/ablations/table.py SWEEP OUT

SWEEP: the folder that `python train.py -m sweep=ablations` names at its end. OUT gets results.json, table.md,
ablations.png and ablations.svg: every run that is finished, measured on its held-out objects, against the run called
ablation_base.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from one2345.cli.run_folder import stored_config
from one2345.cli.sweep import tasks_of

BASE = "ablation_base"
COLUMNS = ("iou_128", "chamfer", "f_0.01", "f_0.05", "normal_consistency", "psnr")
BLUE, GREY = "#2f6fed", "#9aa4b2"


def main(sweep: Path, out: Path) -> None:
    """Read the runs of `sweep`, write to `out`."""
    rows = {name: row for task in tasks_of(sweep) for name, row in [read(task.folder)] if row is not None}
    if BASE not in rows:
        sys.exit(f"error: {sweep}: no finished run of {BASE} to compare with")
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    text = table(rows)
    (out / "table.md").write_text(text, encoding="utf-8")
    with mpl.rc_context({"svg.hashsalt": "one2345", "svg.fonttype": "none", "font.size": 9}):
        drawn = figure(rows)
        drawn.savefig(out / "ablations.png", dpi=150)
        drawn.savefig(out / "ablations.svg", metadata={"Date": None})
    print(text)


def read(run: Path) -> tuple[str, dict[str, Any] | None]:
    """Name of a run's experiment, and what is kept of its evaluation; None where there is none."""
    config, file = stored_config(run) or {}, run / "evaluation" / "results.json"
    if not file.is_file():
        return str(config.get("name")), None
    document = json.loads(file.read_text(encoding="utf-8"))
    best = document["best_of"].get("visual hull")
    return str(config["name"]), {
        "objects": len(document["objects"]),
        "protocol": document["protocol"]["name"],
        "steps": config["trainer"]["max_steps"],
        "hull of": best,
        "network": document["predictors"]["network"]["metrics"],
        "visual hull": document["predictors"]["visual hull"]["metrics"] if best else None,
        "rows": {
            row["object"]: row["scores"].get("iou_128")
            for row in document["rows"]
            if row["predictor"] == "network"
        },
    }


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Markdown: means of every run, its volume IoU less that of the base with a standard error, and its hull's."""
    lines = [
        "| run | " + " | ".join(COLUMNS) + " | IoU less base | hull's IoU |",
        "|---" * (len(COLUMNS) + 3) + "|",
    ]
    for name, row in rows.items():
        cells = [f"{row['network'][c]['mean']:.4f}" if c in row["network"] else "" for c in COLUMNS]
        hull = f"{row['visual hull']['iou_128']['mean']:.4f}" if row["visual hull"] else ""
        title = name.removeprefix("ablation_").replace("_", " ")
        lines.append(f"| {title} | {' | '.join(cells)} | {lead(rows, name)} | {hull} |")
    return "\n".join(lines) + "\n"


def lead(rows: dict[str, dict[str, Any]], name: str) -> str:
    """Mean difference of volume IoU to the base over the objects that both have, with its standard error."""
    ours, base = rows[name]["rows"], rows[BASE]["rows"]
    apart = [ours[i] - base[i] for i in ours if ours[i] is not None and base.get(i) is not None]
    if name == BASE or len(apart) < 2:
        return ""
    return f"{mean(apart):+.4f} ± {stdev(apart) / len(apart) ** 0.5:.4f}"


def figure(rows: dict[str, dict[str, Any]]) -> Figure:
    """Volume IoU of every run with its interval, that of the base as a line."""
    names = sorted(rows, key=lambda n: rows[n]["network"]["iou_128"]["mean"])
    drawn = Figure(figsize=(7.0, 0.28 * len(names) + 1.0), layout="constrained")
    axes = drawn.subplots()
    base = rows[BASE]["network"]["iou_128"]["mean"]
    axes.axvline(base, color=GREY, linewidth=0.8)
    for place, name in enumerate(names):
        found = rows[name]["network"]["iou_128"]
        axes.plot([found["low"], found["high"]], [place, place], color=GREY, linewidth=1.2)
        axes.plot(found["mean"], place, "o", color=BLUE)
    axes.set_yticks(range(len(names)), [n.removeprefix("ablation_").replace("_", " ") for n in names])
    axes.set(xlabel="volume IoU of held-out shapes, mean and 95 % interval")
    return drawn


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
