"""Pack prepared objects into shards, a few large files that data=shards streams (prepare.py stage=pack).

What lies complete in the output folder already is kept; nothing there can be read before all of it is.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from one2345.cli import app
from one2345.cli.checks import check_folder_writable, existing_path
from one2345.cli.summary import summary_box
from one2345.errors import InputError

COMMAND = app.Command("pack", "one2345.cli.pack", folder=False, scaled=False)


def run(argv: list[str] | None = None) -> None:
    """`python prepare.py stage=pack root=DIR out=DIR`."""
    app.run(COMMAND, argv)


def check(config: Mapping[str, Any]) -> None:
    """Refuse what cannot work before anything heavy is imported."""
    for key, what in (("root", "prepared objects"), ("out", "the folder to write")):
        if config[key] is None:
            raise InputError(f"stage=pack needs {key}=DIR, {what}")
    existing_path("root", config["root"], folder=True)
    check_folder_writable(Path(config["out"]), key="out")


def main(config: Mapping[str, Any]) -> Any:
    """Pack; returns the `PackSummary`."""
    from one2345.data.ledger import MANIFEST, Ledger
    from one2345.data.pack import pack_objects
    from one2345.data.stores.chunks import CATALOGUE, INDEX

    out = Path(config["out"]).expanduser()
    summary = pack_objects(
        Path(config["root"]).expanduser(),
        out=out,
        images=config["images"],
        chunk_mb=config["chunk_mb"],
        workers=config["workers"],
        ledger=lambda: Ledger(out),
    )
    print(summary)
    summary_box("packed", {"index": out / INDEX, "catalogue": out / CATALOGUE, "manifest": out / MANIFEST})
    return summary


if __name__ == "__main__":
    run()
