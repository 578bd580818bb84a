"""Texture coordinates by xatlas, in a process that is ended when its time is over."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from one2345.geometry import Mesh

WORKER = Path(__file__).with_name("unwrap_worker.py")
# xatlas takes the resolution as a guess, and exceeds it by about this factor; then its atlas is brought to size.
EXCESS = 1.25
ATTEMPTS = 2
# Ending a process with its threads and memory takes a moment, more on a busy machine: it begins so much earlier.
ENDING = 0.05
LONGEST_ENDING = 1.0


class UnwrapFailed(Exception):
    """Why a mesh has no texture coordinates, in words."""


@dataclass(frozen=True)
class Unwrapped:
    """mesh: the faces in their order, with uv; vertices of several charts are there several times. charts: their
    number. utilisation: share of the atlas that charts cover."""

    mesh: Mesh
    charts: int
    utilisation: float


def unwrap(
    mesh: Mesh, *, size: int, padding: int = 4, seconds: float = 30.0, charts: int | None = None
) -> Unwrapped:
    """Texture coordinates for a square texture of `size` texels, at least `padding` texels between charts.

    seconds: of wall clock, in which it ends either way. charts: most that are accepted.
    Raises UnwrapFailed when the time is over, when there are more charts, and when xatlas fails.
    """
    end = time.monotonic() + seconds - min(ENDING * seconds, LONGEST_ENDING)
    request = io.BytesIO()
    np.savez(
        request, positions=mesh.vertices.astype(np.float32), indices=mesh.faces.astype(np.uint32),
        resolution=max(16, round(size / EXCESS)), padding=padding, seconds=max(seconds, 1e-3) + 1,
    )  # fmt: skip
    with np.load(io.BytesIO(_run(request.getvalue(), end, seconds)), allow_pickle=False) as found:
        made = {name: found[name] for name in found.files}
    width, height, pages = (int(x) for x in made["size"])
    count = int(made["charts"])
    if pages != 1 or min(width, height) < 1 or len(made["faces"]) != len(mesh.faces):
        raise UnwrapFailed(
            f"xatlas made {pages} atlases of {width}x{height} with {len(made['faces'])} of {len(mesh.faces)} faces"
        )
    if charts is not None and count > charts:
        raise UnwrapFailed(f"the surface falls into {count} charts, more than {charts}")
    # Rows count down in xatlas as in a picture; v counts up.
    uv = made["position"].astype(np.float64) / max(width, height)
    textured = Mesh(
        mesh.vertices[made["source"]],
        made["faces"].astype(np.int64),
        uv=np.stack([uv[:, 0], 1 - uv[:, 1]], -1).clip(0, 1),
    )
    return Unwrapped(mesh=textured, charts=count, utilisation=float(made["utilisation"]))


def _run(request: bytes, end: float, seconds: float) -> bytes:
    """The worker's answer, where it comes before the monotonic clock shows `end`.

    It is asked again after a crash: xatlas has several threads, and now and then they meet.
    """
    crashed = ""
    for _ in range(ATTEMPTS):
        try:
            done = subprocess.run(
                [sys.executable, "-P", str(WORKER)], input=request, capture_output=True,
                timeout=max(end - time.monotonic(), 0.0),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise UnwrapFailed(f"unwrapping takes more than {seconds:g} s") from None
        if done.returncode == 0:
            return done.stdout
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
        crashed = f"xatlas ended with {how}{': ' + said[-1][:200] if said else ''}"
        if done.returncode > 0:
            break
    raise UnwrapFailed(crashed)
