"""Loggers that go on where an interrupted run stopped."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from one2345.cli.run_folder import overrides_hash
from one2345.files import write_atomic


class MetricsCsv(Logger):
    """`metrics.csv` in `folder`: one row per logged step; a resumed run appends and drops what it repeats.

    A row is written as soon as the next step begins, so a killed run has all but its last. Columns that
    appear later are added to the header, and earlier rows are left empty there.
    """

    def __init__(self, *, folder: str) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self._columns: list[str] = []
        self._row: dict[str, Any] = {}
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
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        step = int(step or 0)
        if not self._started:
            self._start(step)
        if self._row.get("step") != step:
            self.save()
            self._row = {"step": step}
        self._row.update({k: float(v) for k, v in metrics.items()})

    @rank_zero_only
    def save(self) -> None:
        """Write the row that is being gathered."""
        if not self._row:
            return
        new = [name for name in self._row if name not in self._columns]
        if new:
            self._columns += sorted(new)
            self._rewrite(self._read())
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns).writerow(self._row)
        self._row = {}

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()

    def _start(self, step: int) -> None:
        """Take over the rows of an earlier stretch of this run, up to the step at which this one begins."""
        self._started = True
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [row for row in self._read() if row.get("step", "").isdigit() and int(row["step"]) < step]
        self._columns = list(kept[0]) if kept else ["step"]
        self._rewrite(kept)

    def _read(self) -> list[dict[str, str]]:
        if not self.path.is_file():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            # a row torn by a crash has too few or too many cells
            return [row for row in csv.DictReader(file) if None not in row and None not in row.values()]

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
        write_atomic(self.path, text.getvalue())


def wandb_logger(*, folder: str, **options: Any) -> WandbLogger:
    """A Weights & Biases logger whose run id follows from the run folder: a resumed run stays one run.

    WANDB_MODE=offline keeps everything below `folder`.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    return WandbLogger(
        save_dir=folder, id=overrides_hash([str(Path(folder).absolute())]), resume="allow", **options
    )
