"""What was done in a folder that prepare.py writes, and what failed and why (prepare.py stage=status).

Counts by stage, bytes, licences, the most frequent reasons and the speed, from the folder's manifest.sqlite. It may be
asked while others write.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from one2345.cli import app
from one2345.cli.checks import existing_path
from one2345.errors import InputError

COMMAND = app.Command("status", "one2345.cli.status", folder=False, scaled=False)
FORMATS = ("table", "json")


def run(argv: list[str] | None = None) -> None:
    """`python prepare.py stage=status out=DIR`."""
    app.run(COMMAND, argv)


def check(config: Mapping[str, Any]) -> None:
    """Refuse what cannot work before anything heavy is imported."""
    if config["out"] is None:
        raise InputError("stage=status needs out=DIR, a folder that prepare.py wrote")
    existing_path("out", config["out"], folder=True)
    if config["format"] not in FORMATS:
        raise InputError(f"format={config['format']} is unknown; it takes {', '.join(FORMATS)}")


def main(config: Mapping[str, Any]) -> Any:
    """Print the table; returns the list of `StageStatus`."""
    from one2345.data.status import as_json, as_table, status

    stages = status(Path(config["out"]).expanduser(), reasons=config["reasons"])
    print(json.dumps(as_json(stages), indent=1) if config["format"] == "json" else as_table(stages))
    return stages
