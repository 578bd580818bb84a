"""Loggers that go on where an interrupted run stopped."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from one2345.cli.run_folder import global_rank, overrides_hash
from one2345.errors import InputError
from one2345.files import sync, write_atomic
from one2345.training.media import STEP


class MetricsCsv(Logger):
    """`metrics.csv` in `folder`: one row per logged step; a resumed run appends and drops what it repeats.

    What is logged of a step is written when Lightning says so (`save`), also in parts, which are joined in one row.
    Columns that appear later are added to the header, and earlier rows are left empty there.
    """

    def __init__(self, *, folder: str) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self._columns: list[str] = []
        self._row: dict[str, Any] = {}
        self._written: int | None = None  # step of the last row in the file
        self._started = False

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @property
    def log_dir(self) -> str:
        """The run folder."""
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: config.json has them."""

    @rank_zero_only
    def resume_at(self, step: int) -> None:
        """Take over the rows of an earlier stretch of this run, of the steps before `step`: it goes on there."""
        self._started = True
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [row for row in self._read() if int(row["step"]) < step]
        self._columns = list(kept[0]) if kept else ["step"]
        self._rewrite(kept)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        step = int(step or 0)
        if not self._started:
            self.resume_at(step)
        if self._row.get("step") != step:
            self.save()
            self._row = {"step": step}
        self._row.update({k: float(v) for k, v in metrics.items()})

    @rank_zero_only
    def save(self) -> None:
        """Write what is gathered of a step, into the last row if that is of the same one."""
        if not self._row:
            return
        row, self._row = self._row, {}
        new = sorted(name for name in row if name not in self._columns)
        self._columns += new
        if new or row["step"] == self._written:
            rows = self._read()
            if row["step"] == self._written:
                row = {**rows.pop(), **row}
            self._rewrite([*rows, row])
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns).writerow(row)
        sync(self.path)  # before the checkpoint that counts on it
        self._written = row["step"]

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()

    def _read(self) -> list[dict[str, str]]:
        if not self.path.is_file():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            # a row torn by a crash has too few or too many cells
            rows = [row for row in csv.DictReader(file) if None not in row and None not in row.values()]
        return [row for row in rows if row.get("step", "").isdigit()]

    def _rewrite(self, rows: Sequence[Mapping[str, Any]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
        write_atomic(self.path, text.getvalue())
        self._written = int(rows[-1]["step"]) if rows else None


PANELS = {
    "loss": "min,last",
    "val": "max,last",
    "train": "last",
    "gradient": "last",
    "speed": "last",
    "previews": "none",
    "meshes": "none",
    "tables": "none",
}
"""Sections of the page at Weights & Biases, the part of a metric's name before the slash, and what its table of runs
shows of each: the best value, the latest, none."""


class WandbRun(WandbLogger):
    """Weights & Biases with every section over the steps of the optimiser, whichever was logged first."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        begins = self._experiment is None
        run = super().experiment
        if begins:
            for name, summary in PANELS.items():
                run.define_metric(f"{name}/*", step_metric=STEP, step_sync=True, summary=summary)
        return run


def wandb_logger(*, folder: str, **options: Any) -> WandbRun:
    """A Weights & Biases logger whose run id is kept in the run folder: a resumed run stays one run.

    WANDB_MODE=offline keeps everything below `folder`.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    return WandbRun(save_dir=folder, id=wandb_id(Path(folder)), resume="allow", **options)


def wandb_id(folder: Path) -> str:
    """What the file `wandb_id` in the run folder says; before there is one, an id that follows from the path.

    Raises InputError for a file that says anything else.
    """
    file = folder / "wandb_id"
    if not file.is_file():
        made = overrides_hash([str(folder.absolute())])
        if global_rank() == 0:
            write_atomic(file, made + "\n")
        return made
    found = file.read_text(encoding="utf-8", errors="replace").strip()
    if not re.fullmatch(r"[\w-]{1,64}", found, re.ASCII):
        raise InputError(
            f"{file}: {found[:80]!r} can't be the id of a run; delete the file to begin another one"
        )
    return found
