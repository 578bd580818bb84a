"""The rows of evaluations as one table: python experiments/from_one_picture/table.py NAME=OUT [NAME=OUT ...] RESULTS

OUT: a folder that evaluate.py wrote. RESULTS: the JSON file to write; the table goes to standard output.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

COLUMNS = ("iou_128", "chamfer", "f_0.01", "f_0.05", "normal_consistency", "psnr")


def main() -> None:
    *runs, target = sys.argv[1:]
    kept = {}
    print(f"| run | method | {' | '.join(COLUMNS)} | s / object |\n|{'---|' * (len(COLUMNS) + 3)}")
    for name, folder in (run.split("=", 1) for run in runs):
        found = json.loads((Path(folder) / "results.json").read_text(encoding="utf-8"))
        for where in ("truth", "appearance"):  # where things lay on the machine
            found["provenance"].pop(where, None)
        kept[name] = {k: found[k] for k in ("protocol", "provenance", "predictors", "paired", "timings")}
        for method, row in found["predictors"].items():
            cells = [
                f"{m['mean']:.4f} ({m['median']:.4f})" for m in (row["metrics"].get(c) for c in COLUMNS) if m
            ]
            seconds = found["timings"]["predictors"][method]["seconds"]
            print(f"| {name} | {method}, {row['n']} of {row['of']} | {' | '.join(cells)} | {seconds:.1f} |")
    Path(target).write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
