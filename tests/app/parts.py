"""A synthesiser that takes any picture, and a chain around it that is quick: what the tests of the page run on."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tests.evaluation.meshes import chair
from torch import Tensor

from one2345.app.chain import Chain
from one2345.app.jobs import Slots
from one2345.app.limits import Limits
from one2345.geometry import load_plan
from one2345.meshing import Extractor
from one2345.objects import MeshObject
from one2345.pipeline import ImageTo3D, Reconstruction, Weights, save
from one2345.views.synthesis import Oracle, Report, Synthesised, ViewRequest

SIZE = 48


class Tinted:
    """Shows a chair in the mean colour of the picture that it is given, a little darker by the seed.

    pause: seconds that each picture takes. gate: closed, it holds up all pictures but the first.
    """

    elevation = None
    consistent = False
    size = SIZE

    def __init__(self, *, pause: float = 0.0) -> None:
        self.pause = pause
        self.gate = threading.Event()
        self.gate.set()
        self.asked: list[tuple[str, int]] = []
        mesh = replace(chair(), colours=np.ones((len(chair().vertices), 3), np.float32))
        self._oracle = Oracle(object=MeshObject(mesh, id="chair", repair=False), elevation=30.0, size=SIZE)

    def picture(self) -> None:
        return None

    def describe(self) -> Mapping[str, Any]:
        return {"kind": "tinted"}

    def __call__(
        self, requests: Sequence[ViewRequest], pictures: Tensor, *, seed: int, report: Report | None = None
    ) -> Synthesised:
        for request in requests:
            if self.asked:
                self.gate.wait(20)
            self.asked.append((request.name, seed))
            time.sleep(self.pause)
        seen = self._oracle(requests, pictures, seed=seed)
        object_pixels = (pictures.amin(1, keepdim=True) < 0.97).float()
        colour = (pictures * object_pixels).sum((2, 3)) / object_pixels.sum((2, 3)).clamp_min(1)
        tint = colour[:, :, None, None] * (1 - 0.05 * (seed % 10))
        return Synthesised(seen.images * tint * seen.masks[:, None] + (1 - seen.masks[:, None]), seen.masks)


@cache
def weights() -> Weights:
    """Those of the package, given smaller pictures than they were trained on, to be quick."""
    return replace(Weights.load(), pixels=SIZE)


def make_chain(synthesizer: Any = None, *, limits: Limits | None = None, **more: Any) -> Chain:
    pipe = ImageTo3D(
        weights=weights(), synthesizer=None, plan=load_plan("ring8"), extractor=Extractor(resolution=32)
    )

    def write(found: Reconstruction, out: Path, name: str, source: Any) -> Mapping[str, Path]:
        return save(
            found,
            out,
            id=name,
            formats=("glb", "obj", "ply"),
            animations=(),
            frames=1,
            provenance={"text": source},
        )

    limits = limits or Limits()
    slots = Slots(at_once=limits.at_once, waiting=limits.waiting)
    if synthesizer is None:
        more = {"no_views": "the weights are not here; other ways: none", "no_text": "no painter", **more}
    return Chain(pipe=pipe, write=write, limits=limits, synthesizer=synthesizer, slots=slots, **more)


def draw_picture(file: Path, colour: tuple[int, int, int], size: int = 96) -> Path:
    """A disc of one colour on white."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    inside = (x**2 + y**2 < (0.35 * size) ** 2)[..., None]
    pixels = np.where(inside, np.array(colour), 255).astype(np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def mean_colour(images: Tensor, masks: Tensor) -> Tensor:
    """(3,) of the objects in images (v, 3, h, w) with masks (v, h, w)."""
    weight = (masks > 0.9).float()[:, None]
    return (images * weight).sum((0, 2, 3)) / weight.sum()
