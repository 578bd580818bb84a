"""The file that an object was made from, for those who would rather draw the file than the object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Asset:
    """A file that the loader has accepted.

    root: the outermost folder that its references may point to. to_world: (4, 4) from the file's own axes and
    units to the world in which the object stands.
    """

    file: Path
    root: Path
    to_world: NDArray[np.float64]
