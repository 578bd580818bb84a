"""Render meshes or analytic shapes into the views format that training and evaluation read.

stage=download only fetches the files of a source that has them elsewhere. stage=predict runs a synthesiser over objects
that are prepared already, stage=pack packs them into shards, stage=status prints what was done: these have keys of
their own.

What lies complete in the output folder already is kept, so an interrupted run goes on where it stopped;
what became of each object stands in its manifest.sqlite, which stage=status prints as a table.
"""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from one2345.build import build, did_you_mean
from one2345.cli import app
from one2345.cli.checks import check_folder_writable, existing_path
from one2345.cli.stopping import ends_on_sigterm
from one2345.cli.summary import summary_box
from one2345.errors import InputError

COMMAND = app.Command("prepare", "one2345.cli.prepare", folder=False, scaled=False)
SPLITS = ("train", "val", "test")
OWN = (
    "predict",
    "pack",
    "status",
)  # stages that are commands of their own: one2345.cli.<stage>, conf/<stage>.yaml
STAGES = ("render", "download", *OWN)


def run(argv: list[str] | None = None) -> None:
    """`python prepare.py ...`; some stages are commands of their own."""
    told = sys.argv[1:] if argv is None else argv
    for stage in OWN:
        if f"stage={stage}" in told:
            return importlib.import_module(f"one2345.cli.{stage}").run(told)
    app.run(COMMAND, told)


def check(config: Mapping[str, Any]) -> None:
    """Refuse what cannot work before anything heavy is imported."""
    if config["stage"] not in STAGES or config["stage"] in OWN:
        raise InputError(f"stage={config['stage']} is unknown; it takes {', '.join(STAGES)}")
    source = config["source"]
    if source.get("root") is not None:
        if source.get("download"):
            check_folder_writable(Path(source["root"]), key="source.root")
        else:
            existing_path("source.root", source["root"], folder=True)
    if config["out"] is None:
        raise InputError("out is not given; out=DIR is the folder to write")
    check_folder_writable(Path(config["out"]), key="out")
    if config["split"] not in (None, *SPLITS):
        near = did_you_mean(str(config["split"]), SPLITS) or f"; it takes {', '.join(SPLITS)}"
        raise InputError(f"split={config['split']} is unknown{near}")


def main(config: Mapping[str, Any]) -> Any:
    """Download, render, or both; returns the `PrepareSummary`, or the counts of stage=download."""
    source = build(config["source"], allow_any=True)
    out = Path(config["out"]).expanduser()
    ids = source.ids(config["split"]) if config["split"] else None
    with ends_on_sigterm():
        if config["stage"] == "download" or config["source"].get("download"):
            counts = _download(source, out, ids, config)
            if config["stage"] == "download":
                return counts
        return _render(source, out, ids, config)


def _download(source: Any, out: Path, ids: list[str] | None, config: Mapping[str, Any]) -> dict[str, int]:
    from one2345.data.ledger import MANIFEST
    from one2345.data.obtain import Fetching, obtain_objects

    if not isinstance(source, Fetching):
        if config["stage"] == "download":
            raise InputError(
                "stage=download: this source has nothing to download by itself; source=objaverse has"
            )
        return {}  # it has seen to that when it was made
    counts = obtain_objects(source, out=out, ids=ids, retry=config["retry"])
    print("download: " + ", ".join(f"{count:,} {state}" for state, count in counts.items() if count))
    if config["stage"] == "download":
        summary_box("downloaded", {"objects": Path(config["source"]["root"]), "manifest": out / MANIFEST})
    return counts


def _render(source: Any, out: Path, ids: list[str] | None, config: Mapping[str, Any]) -> Any:
    from one2345.data.ledger import MANIFEST
    from one2345.data.prepare import prepare_objects
    from one2345.data.workers import Limits

    summary = prepare_objects(
        source,
        out=out,
        recipe=build(config["render"], allow_any=True),
        workers=config["workers"],
        ids=ids,
        limits=Limits(**config["limits"]),
        retry=config["retry"],
        check=config["check"],
    )
    print(summary)
    summary_box("prepared", {"objects": out / "objects", "manifest": out / MANIFEST})
    return summary


if __name__ == "__main__":
    run()
