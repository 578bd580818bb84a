"""What a command says: its messages while it runs, and at its end a box with what was written where."""

import logging
import os
import warnings
from collections.abc import Mapping
from pathlib import Path

from one2345.cli.run_folder import global_rank


def relative(path: Path) -> str:
    """`path` as the user would type it from here."""
    inside = os.path.relpath(path)
    return os.fspath(path) if inside.startswith("..") else inside


def summary_box(title: str, paths: Mapping[str, Path]) -> None:
    """Print those of `paths` that exist, in a box."""
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    listing = Table.grid(padding=(0, 2))
    for name, path in paths.items():
        if path.exists():
            listing.add_row(Text(name, style="bold"), Text(relative(path), overflow="fold"))
    console = Console()
    if not console.is_terminal:  # a log has no width at which paths would have to break
        console.width = 500
    console.print(Panel(listing, title=title, expand=False))


def show_messages() -> None:
    """Send this package's own messages (what is prepared, what failed) to standard error, from rank zero."""
    logger = logging.getLogger("one2345")
    if logger.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
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
