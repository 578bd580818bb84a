"""What a command says: its messages while it runs, and at its end a box with what was written where."""

import logging
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

from one2345.cli.run_folder import global_rank
from one2345.terminal import watched


def relative(path: Path) -> str:
    """`path` as the user would type it from here."""
    inside = os.path.relpath(path)
    return os.fspath(path) if inside.startswith("..") else inside


def summary_box(title: str, paths: Mapping[str, Path]) -> None:
    """Say where those of `paths` are that exist: on a terminal in a box, else in lines."""
    there = {name: relative(path) for name, path in paths.items() if path.exists()}
    if not watched(sys.stdout):
        width = max(map(len, there), default=0)
        print("\n".join([title, *(f"  {name:<{width}}  {path}" for name, path in there.items())]), flush=True)
        return
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    listing = Table.grid(padding=(0, 2))
    for name, path in there.items():
        listing.add_row(Text(name, style="bold"), Text(path, overflow="fold"))
    Console().print(Panel(listing, title=Text(title), expand=False))


class _Messages(logging.Handler):
    """To standard error as it is now: while bars are shown, above them."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:  # noqa: BLE001 (as every handler of logging does)
            self.handleError(record)


def show_messages() -> None:
    """Send this package's own messages (what is prepared, what failed) to standard error, from rank zero."""
    logger = logging.getLogger("one2345")
    if logger.handlers:
        return
    logger.addHandler(_Messages())
    logger.setLevel(logging.INFO if global_rank() == 0 else logging.WARNING)


def quiet_lightning() -> None:
    """Drop Lightning's notices that a user can do nothing about."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        "The .* does not have many workers",
        "Checkpoint directory .* exists and is not empty",
        ".*treespec, LeafSpec",
        "The number of training batches .* is smaller than the logging interval",
        "The `srun` command is available",
    ):
        warnings.filterwarnings("ignore", message)
