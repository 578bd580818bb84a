"""What is worth having when the weights of the package are trained, measured on objects held out for validation.

    python experiments/choices/run.py POOL SHAPES OUT

POOL, SHAPES: prepared modelled objects and analytic shapes, as experiments/sdf_base/train.sh makes them, but with some
shapes of splits val and test (source.val=4 source.test=2), which the row without the pool asks for. Each row of
`ROWS` trains `experiment=sdf_mixed` for some steps with one thing changed; then all of them reconstruct the pool's
objects of split val from 32 exact views and from 32 simulated ones. OUT gets the runs, results.json and table.md. What
is there already is not made again.

--steps N, --objects N: of the trainings, of the comparison. --jobs N: trainings at a time, a thread each.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BASE = "base"
ROWS = {
    BASE: "",
    "no_mask_channel": "model.feature_net.in_channels=3",
    "no_signed_distances": "loss.sdf=0",
    "depth_loss": "loss.depth=0.5",
    "mesh_loss": "loss.mesh_regularisation=1.0",
    "voxels_32": "scale.volume=32",
    "voxels_64": "scale.volume=64",
    "views_not_split": "model.split_views=false",
    "coherence": "model.coherence=true",
    "one_hull": "model.hull_tolerance=[0.0]",
    "always_32_views": "data.sizes.fewest_views=null",
    "shapes_alone": "data.root={shapes} data.also=[] data.test_split=test",
    "pool_alone": "data.also=[]",
    "exact_alone": "inputs=exact",
    "half_the_error": "inputs.kinds.simulated.geometry=0.5 inputs.kinds.chained.geometry=0.5",
    "twice_the_error": "inputs.kinds.simulated.geometry=2.0 inputs.kinds.chained.geometry=2.0",
}
COLUMNS = ("iou_128", "chamfer", "normal_consistency", "psnr")
KINDS = ("exact", "simulated")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pool", type=Path, metavar="POOL")
    parser.add_argument("shapes", type=Path, metavar="SHAPES")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--steps", type=int, default=600, metavar="N")
    parser.add_argument("--objects", type=int, default=32, metavar="N")
    parser.add_argument("--jobs", type=int, default=1, metavar="N")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    given = parser.parse_args()
    given.rows = list(dict.fromkeys([BASE, *given.rows]))
    given.out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(lambda row: _train(row, given), given.rows))
    found = _measure(given)
    given.out.joinpath("results.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    given.out.joinpath("table.md").write_text(table(found), encoding="utf-8")
    print(table(found))


def _run_folder(row: str, given: argparse.Namespace) -> Path:
    return given.out / "runs" / "sdf_mixed" / f"{row}-{given.steps}"


def _train(row: str, given: argparse.Namespace) -> None:
    """One row. A run that is complete ends at once, one that was stopped goes on."""
    command = [
        "train.py", "experiment=sdf_mixed", "scale=laptop",
        f"scale.steps={given.steps}", f"scale.val_every={given.steps}",
        "+trainer.limit_val_batches=2", f"data.root={given.pool}", f"data.also=[{given.shapes}]", "data.batch_size=1",
        "evaluate.objects=1", "evaluate.hull=false", "evaluate.sphere=false", "evaluate.pictures=false",
        f"run.root={given.out / 'runs'}", f"run.id={row}-{given.steps}",
        *ROWS[row].format(shapes=given.shapes).split(),
    ]  # fmt: skip
    with (given.out / f"{row}.log").open("a", encoding="utf-8") as log:
        _call(command, stdout=log, stderr=subprocess.STDOUT)


def _measure(given: argparse.Namespace) -> dict[str, Any]:
    """The rows side by side, and the hulls of the same views."""
    what = f"{given.steps} {given.objects} {given.rows}"
    out = given.out / f"comparison-{hashlib.sha256(what.encode()).hexdigest()[:8]}"
    others = ", ".join(f"{row}: {_run_folder(row, given)}" for row in given.rows if row != BASE)
    command = [
        "evaluate.py", f"ckpt={_run_folder(BASE, given)}", *([f"evaluate.checkpoints={{{others}}}"] if others else []),
        "scale=laptop", "scale.views=32", "plan=published", "data=folder", f"data.root={given.pool}",
        "data.test_split=val", f"evaluate.objects={given.objects}", f"evaluate.inputs=[{','.join(KINDS)}]",
        "evaluate.sphere=false", "evaluate.pictures=false", f"out={out}",
    ]  # fmt: skip
    if not (out / "results.json").is_file():
        _call(command)
    document = json.loads((out / "results.json").read_text(encoding="utf-8"))
    keep = {name: one["metrics"] for name, one in document["predictors"].items()}
    scores: dict[str, dict[str, float]] = {}
    for row in document["rows"]:
        scores.setdefault(row["predictor"], {})[row["object"]] = row["scores"].get("iou_128")
    return {
        "steps": given.steps,
        "objects": len(document["objects"]),
        "rows": {row: ROWS[row] for row in given.rows},
        "metrics": keep,
        "iou_128": scores,
    }


def _call(command: list[str], **options: Any) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, ROOT / command[0], *command[1:]], check=True, env=environment, **options)


def table(found: dict[str, Any]) -> str:
    """Markdown: of each row the means, and its volume IoU less the base's, object by object, with a standard error."""
    lines = []
    for kind in KINDS:
        lines += [f"**{kind} views**", "", f"| row | {' | '.join(COLUMNS)} | IoU less base |"]
        lines.append("|---" * (len(COLUMNS) + 2) + "|")
        names = {row: ("network" if row == BASE else row) + f" {kind}" for row in found["rows"]}
        for row, name in (names | {"visual hull": f"visual hull {kind}"}).items():
            metrics = found["metrics"][name]
            cells = [f"{metrics[c]['mean']:.4f}" if c in metrics else "" for c in COLUMNS]
            lead = _lead(found["iou_128"].get(name, {}), found["iou_128"][names[BASE]])
            lines.append(f"| {row.replace('_', ' ')} | {' | '.join(cells)} | {lead} |")
        lines.append("")
    return "\n".join(lines)


def _lead(ours: dict[str, float | None], base: dict[str, float | None]) -> str:
    pairs = [(score, base.get(name)) for name, score in ours.items()]
    differences = [a - b for a, b in pairs if a is not None and b is not None]
    if len(differences) < 2:
        return ""
    mean = sum(differences) / len(differences)
    spread = sum((d - mean) ** 2 for d in differences) / (len(differences) - 1)
    return f"{mean:+.4f} ± {(spread / len(differences)) ** 0.5:.4f}"


if __name__ == "__main__":
    main()
