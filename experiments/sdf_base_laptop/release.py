"""Turn a finished training run into released weights: python experiments/sdf_base_laptop/release.py RUN [OUT].

RUN: a run folder. OUT: default the package's own src/one2345/weights/sdf_base.safetensors. The record in the file
says how it was trained and what it scored on the run's held-out objects.
"""

import hashlib
import json
import sys
from pathlib import Path

from one2345.checkpoints import PRETRAINED, find_checkpoint, load_reconstructor, save_release


def main(run: Path, out: Path = PRETRAINED) -> None:
    """Write OUT and print its size and hash."""
    config = json.loads((run / "config.json").read_text())
    summary = json.loads((run / "evaluation" / "results.json").read_text())
    model, record = load_reconstructor(run)
    scores = {
        name: {key: round(value["mean"], 4) for key, value in result["metrics"].items()}
        for name, result in summary["predictors"].items()
    }
    record = {
        "model": record["model"],
        "scale": config["run"]["choices"]["scale"],
        "training": {
            "experiment": config["name"],
            "checkpoint": find_checkpoint(run).name,
            "sizes": config["scale"],
            "loss": config["loss"],
            "optim": config["optim"],
            "data": config["data"]["source"],
            "inputs": config["inputs"],
            "plan": config["plan"]["name"],
            "seed": config["seed"],
        },
        "held_out": {"objects": len(summary["objects"]), "protocol": config["protocol"], "scores": scores},
    }
    save_release(out, model, record)
    content = out.read_bytes()
    print(f"{out}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
