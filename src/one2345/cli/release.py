"""A trained network as a folder to hand on: python -m one2345.cli.release RUN OUT

RUN is a run folder, a .ckpt or a .safetensors file. OUT gets model.safetensors, config.json (how the network is built,
how it was trained, what it scored) and README.md, a model card. Everything that takes `ckpt=` takes the folder, and it
can be pushed to the hub as it is: `hf upload ORGANISATION/NAME OUT`, then `ckpt=ORGANISATION/NAME`.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from one2345.checkpoints import find_checkpoint, load_reconstructor, save_folder
from one2345.cli.compose import one_line
from one2345.cli.exit_codes import DONE, INPUT
from one2345.cli.run_folder import CHECKPOINTS, stored_config
from one2345.errors import InputError, One2345Error

DATA = ("source", "sizes", "batch_size", "samples_per_epoch")
SCORES = ("iou_64", "iou_128", "chamfer", "f_0.01", "normal_consistency", "psnr", "ssim")


def run(argv: list[str] | None = None) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m one2345.cli.release",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="run folder or file of weights")
    parser.add_argument(
        "out", type=Path, metavar="OUT", help="the folder to write; must not exist or be empty"
    )
    parser.add_argument("--title", help="of the model card; default: OUT's name")
    parser.add_argument("--licence", default="apache-2.0", help="as the hub names it; default: apache-2.0")
    parser.add_argument("--note", default="", help="a paragraph for the card: data, credits, limits")
    given = parser.parse_args(argv)
    try:
        if given.out.exists() and (not given.out.is_dir() or any(given.out.iterdir())):
            raise InputError(f"{given.out}: is there already; name a new folder")
        model, _ = load_reconstructor(given.run)
        record = release_record(given.run)
        card = model_card(record, title=given.title or given.out.name, licence=given.licence, note=given.note)
        save_folder(given.out, model, record, card=card)
    except One2345Error as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return INPUT
    print(f"released: {given.out}")
    return DONE


def release_record(run: str | Path) -> dict[str, Any]:
    """What is known of the weights of `run`: their own record, and of a run folder how it trained and what it scored.

    Raises CheckpointError for weights that can't be read, InputError for a run folder whose files can't.
    """
    _, record = load_reconstructor(run)
    folder = Path(run)
    if not (folder / CHECKPOINTS).is_dir():  # a file, or a release already
        return dict(record)
    config, results = stored_config(folder), _results(folder / "evaluation" / "results.json")
    if config:
        record = record | {"scale": config["run"]["choices"]["scale"], "training": _training(config, folder)}
    if results:
        scores = {
            name: {key: round(value["mean"], 4) for key, value in result["metrics"].items()}
            for name, result in results["predictors"].items()
        }
        protocol = {"name": results["protocol"]["name"], "version": results["protocol"]["version"]}
        record = record | {
            "held_out": {"objects": len(results["objects"]), "protocol": protocol, "scores": scores}
        }
    return dict(record)


def _training(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    data = config["data"]
    folders = [Path(one).name for one in (data.get("root"), *(data.get("also") or ())) if one]
    return {
        "experiment": config["name"],
        "checkpoint": find_checkpoint(folder).name,
        "sizes": config["scale"],
        "loss": config["loss"],
        "optim": config["optim"],
        "data": {key: data[key] for key in DATA if data.get(key)} | ({"folders": folders} if folders else {}),
        "terms": config["training"]["terms"],
        "inputs": config["inputs"],
        "plan": config["plan"]["name"],
        "seed": config["seed"],
    }


def _results(file: Path) -> dict[str, Any]:
    """What an evaluation of the run found, empty where there was none."""
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {key: found[key] for key in ("predictors", "objects", "protocol")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: holds no results of an evaluation ({error!r})") from error


def model_card(record: Mapping[str, Any], *, title: str, licence: str, note: str = "") -> str:
    """A model card in the hub's form: a header it reads, then what `record` says for people."""
    training, held_out = record.get("training") or {}, record.get("held_out") or {}
    sizes = training.get("sizes") or {}
    lines = [
        "---", f"license: {licence}", "library_name: one2345", "pipeline_tag: image-to-3d",
        "tags: [3d-reconstruction, signed-distance-field, one2345]", "---", "",
        f"# {title}", "",
        f"A reconstruction network (`{record['model'].get('_target_', '?')}`) of the framework one2345: posed views of "
        "an object to a signed distance field with colours.", "",
        "    python reconstruct.py ckpt=FOLDER posed=DIR", "    python evaluate.py ckpt=FOLDER truth=DIR", "",
    ]  # fmt: skip
    if note:
        lines += [note, ""]
    if training:
        lines += ["## Training", ""]
        lines += [
            f"- {key}: {training[key]}" for key in ("experiment", "plan", "seed", "inputs", "data", "loss")
        ]
        lines += [
            f"- sizes: {', '.join(f'{k} {v}' for k, v in sizes.items() if not isinstance(v, dict))}",
            "",
        ]
    if held_out:
        names = [key for key in SCORES if any(key in s for s in held_out["scores"].values())]
        protocol = held_out["protocol"]
        lines += [
            "## Scores", "",
            f"Means over {held_out['objects']} held-out objects, protocol {protocol['name']} version "
            f"{protocol['version']}.", "",
            f"| | {' | '.join(names)} |", f"|---{'|---' * len(names)}|",
        ]  # fmt: skip
        for name, scores in held_out["scores"].items():
            lines.append(f"| {name} | {' | '.join(str(scores.get(key, '')) for key in names)} |")
        lines.append("")
    lines += ["config.json holds the network's configuration and all that is recorded of its training.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run())
