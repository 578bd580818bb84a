"""How many views may disagree with the silhouette hull: IoU by share, plan and kind of views.

    python experiments/inconsistent_views/measure.py [--objects 20] [--seed 0]

Objects: held-out analytic shapes, whose true occupancy is exact. Views: of the published plan, 128 px, exact and as a
diffusion model errs (`Simulated`, chained). Network: the weights of the package; IoU of its field at 64³.
Writes results.json beside itself.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
from pathlib import Path

import torch

from one2345.data.sources import ShapesSource
from one2345.geometry import Cameras, evaluation_box, load_plan
from one2345.pipeline import Weights
from one2345.pipeline.stages import Stages
from one2345.pipeline.view_stage import ViewStage
from one2345.seeding import numpy_rng
from one2345.views.synthesis import Oracle, Simulated

HERE = Path(__file__).parent
SIZE, RESOLUTION = 128, 64
SHARES = (0.0, 0.03, 0.06, 0.1, 0.15, 0.2)
ROLES = {"8 stage-1": ("stage1",), "32 near": ("near",), "all 40": ("stage1", "near")}


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    weights = Weights.load()
    source = ShapesSource(seed=1000 + options.seed, test=options.objects)
    nodes = evaluation_box(RESOLUTION).nodes().reshape(-1, 3)
    scores: dict[tuple[str, str, float], list[float]] = {}
    for id in source.ids():
        item = source.load(id).object
        truth = torch.cat([item.sdf(part) for part in nodes.split(2**16)]) < 0
        elevation = float(numpy_rng(options.seed, "elevation", id).uniform(-10, 70))
        oracle = Oracle(object=item, elevation=elevation, size=SIZE)
        for kind, synthesizer in (("exact", oracle), ("simulated", Simulated(oracle=oracle))):
            stage = ViewStage(
                synthesizer, picture=oracle.picture().images[0], seed=options.seed, stages=Stages()
            )
            views = stage.make(load_plan("published"), elevation)
            for name, roles in ROLES.items():
                given = views[views.indices(*roles)]
                for share in SHARES:
                    field = weights.model(
                        given.images[None],
                        given.masks[None],
                        Cameras.stack([given.cameras]),
                        hull_tolerance=share,
                    )
                    found = torch.cat([field.sdf(part[None])[0] for part in nodes.split(2**16)]) < 0
                    score = float((found & truth).sum() / (found | truth).sum())
                    scores.setdefault((kind, name, share), []).append(score)
        print(id, {k: round(v[-1], 3) for k, v in scores.items() if k[1] == "all 40"}, flush=True)
    rows = [
        {
            "views": kind, "given": name, "share": share, "objects": len(values),
            "mean": round(statistics.fmean(values), 4), "median": round(statistics.median(values), 4),
        }
        for (kind, name, share), values in scores.items()
    ]  # fmt: skip
    document = {"date": str(datetime.date.today()), "seed": options.seed, "rows": rows}
    (HERE / "results.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print("| views | given | " + " | ".join(f"{s:g}" for s in SHARES) + " |\n|" + "---|" * (len(SHARES) + 2))
    for kind in ("exact", "simulated"):
        for name in ROLES:
            cells = [
                next(r for r in rows if (r["views"], r["given"], r["share"]) == (kind, name, s))
                for s in SHARES
            ]
            print(
                f"| {kind} | {name} | "
                + " | ".join(f"{c['mean']:.3f} ({c['median']:.3f})" for c in cells)
                + " |"
            )


if __name__ == "__main__":
    main()
