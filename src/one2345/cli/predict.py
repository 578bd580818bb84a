"""Run a synthesiser over prepared objects and save its pictures (prepare.py stage=predict).

What is there already is kept, so an interrupted run goes on where it stopped. Several jobs may run the same command:
they share the objects by claims in the manifest of the output folder.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from one2345.build import build, did_you_mean
from one2345.cli import app
from one2345.cli.checks import check_folder_writable, existing_path
from one2345.cli.stopping import ends_on_sigterm
from one2345.cli.summary import summary_box
from one2345.errors import InputError

COMMAND = app.Command("predict", "one2345.cli.predict", folder=False, scaled=False)
LAYOUTS = ("views", "published")
SPLITS = ("train", "val", "test")


def run(argv: list[str] | None = None) -> None:
    """`python prepare.py stage=predict ...`."""
    app.run(COMMAND, argv)


def check(config: Mapping[str, Any]) -> None:
    """Refuse what cannot work before anything heavy is imported."""
    for key, known in (("layout", LAYOUTS), ("split", (None, *SPLITS))):
        if config[key] not in known:
            names = [str(k) for k in known if k]
            near = did_you_mean(str(config[key]), names) or f"; it takes {', '.join(names)}"
            raise InputError(f"{key}={config[key]} is unknown{near}")
    if config["root"] is None or config["out"] is None:
        raise InputError(
            "stage=predict needs root=DIR, which prepare.py wrote, and out=DIR, the folder to write"
        )
    existing_path("root", config["root"], folder=True)
    check_folder_writable(Path(config["out"]), key="out")
    if "object" in (config["views"] or {}) and not config.get("source"):
        raise InputError(
            "these views look at the objects themselves; source=shapes or source=folder gives them"
        )


def main(config: Mapping[str, Any]) -> Any:
    """Predict; returns the `PredictSummary`."""
    from one2345.data.ledger import MANIFEST
    from one2345.data.predict import PredictSettings, predict_objects
    from one2345.views import list_objects, object_folder, read_object

    root, out = Path(config["root"]).expanduser(), Path(config["out"]).expanduser()
    ids = list_objects(root) if config["ids"] is None else [str(i) for i in config["ids"]]
    if config["split"]:
        ids = [i for i in ids if read_object(object_folder(root, i)).split == config["split"]]
    settings = PredictSettings(seed=config["seed"], **config["predict"])
    with ends_on_sigterm():
        summary = predict_objects(
            _opener(config), root=root, ids=ids, out=out, settings=settings,
            published=config["layout"] == "published", retry=config["retry"], check=config["check"],
        )  # fmt: skip
    print(summary)
    summary_box("predicted", {"pictures": out, "manifest": out / MANIFEST})
    return summary


def _opener(config: Mapping[str, Any]) -> Callable[[Any], Any]:
    """The synthesiser for an object: one for all, or made of the object where it is told what it looks at."""
    node = config["views"]
    if "object" not in node:
        synthesizer = build(node, allow_any=True)
        return lambda record: synthesizer
    from one2345.views.synthesis import Oracle, Simulated

    source = build(config["source"], allow_any=True)
    errors = build(node["errors"], allow_any=True) if "errors" in node else None

    def open_object(record: Any) -> Any:
        elevation = record.provenance.get("elevation")
        if not isinstance(elevation, int | float):
            raise InputError(f"{record.folder}: doesn't say the elevation of the input camera")
        item = source.load(record.id).object
        oracle = Oracle(object=item, elevation=float(elevation), size=node["size"])
        return oracle if errors is None else Simulated(oracle=oracle, errors=errors)

    return open_object
