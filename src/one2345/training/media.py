"""Pictures, tables and meshes of a run: always in its folder, and in those loggers that take them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from numpy.typing import NDArray

from ..files import write_atomic
from ..geometry import Mesh
from ..meshing import write_mesh
from ..views.images import encode_png

Cell = str | float | int | None
STEP = "trainer/global_step"
"""What Lightning calls the step in Weights & Biases."""


class Media:
    """FOLDER/<kind>/step-0000250-<name>.<png, csv, glb>; in a logger `<kind>/<name>` at that step.

    Weights & Biases takes everything; TensorBoard pictures, and tables as Markdown. Called on rank zero.
    """

    def __init__(self, folder: Path, loggers: Sequence[Any] = ()) -> None:
        self.folder, self.loggers = folder, loggers

    def picture(self, kind: str, name: str, picture: NDArray[np.uint8], step: int) -> Path:
        """picture: (h, w, 3)."""
        path = self._path(kind, name, step, "png")
        write_atomic(path, encode_png(picture))
        for logger in self.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image(f"{kind}/{name}", [picture], step=step)
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(f"{kind}/{name}", picture, step, dataformats="HWC")
        return path

    def table(
        self, kind: str, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], step: int
    ) -> Path:
        """A cell that is None is empty."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([columns, *rows])
        path = self._path(kind, name, step, "csv")
        write_atomic(path, text.getvalue())
        for logger in self.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_table(f"{kind}/{name}", list(columns), [list(row) for row in rows], step=step)
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text(f"{kind}/{name}", _markdown(columns, rows), step)
        return path

    def mesh(self, kind: str, name: str, mesh: Mesh, step: int) -> Path:
        """mesh: in the world frame, with faces."""
        path = write_mesh(mesh, self._path(kind, name, step, "glb"))
        self.show_mesh(kind, name, path, step)
        return path

    def show_mesh(self, kind: str, name: str, file: Path, step: int) -> None:
        """To the loggers alone: a GLB that lies in the run folder already."""
        for logger in self.loggers:
            if isinstance(logger, WandbLogger):
                import wandb

                logger.experiment.log({f"{kind}/{name}": wandb.Object3D(str(file)), STEP: step})

    def _path(self, kind: str, name: str, step: int, suffix: str) -> Path:
        path = self.folder / kind / f"step-{step:07d}-{name}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    cells = [columns, ["---"] * len(columns), *(["" if c is None else str(c) for c in row] for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)
