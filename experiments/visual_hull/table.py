"""One table of several evaluations: python experiments/visual_hull/table.py NAME=RUN [NAME=RUN ...] OUT.

RUN: a folder with results.json. Prints Markdown, and writes OUT: of every run its protocol, provenance and the
statistics of all baselines, without rows of single objects.
"""

import json
import sys
from pathlib import Path

FACTS = ("code", "config hash", "objects hash", "list", "list hash", "views")
COLUMNS = ("iou_64", "iou_128", "chamfer", "f_0.01", "f_0.05", "normal_consistency")


def main(runs: dict[str, Path], out: Path) -> None:
    """Print the table and write OUT."""
    kept = {}
    print("| views | objects | hull | " + " | ".join(COLUMNS) + " |\n" + "|---" * (3 + len(COLUMNS)) + "|")
    for name, folder in runs.items():
        document = json.loads((folder / "results.json").read_text())
        best = document["best_of"]["visual hull"]
        found = document["predictors"]["visual hull"]
        cells = [
            f"{s['mean']:.4f} ({s['median']:.4f}), not thin {s['mean_solid']:.4f}"
            for s in (found["metrics"][c] for c in COLUMNS)
        ]
        count = f"{found['n']} of {found['of']}"
        print(f"| {name} | {count} | {best.removeprefix('visual hull ')}³ | " + " | ".join(cells) + " |")
        kept[name] = {k: document[k] for k in ("protocol", "thin", "best_of", "predictors")}
        kept[name]["provenance"] = {k: v for k, v in document["provenance"].items() if k in FACTS}
    out.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    *named, target = sys.argv[1:]
    main({n: Path(p) for n, _, p in (a.partition("=") for a in named)}, Path(target))
