"""A small object without symmetry, its oracle, and a pipeline with the weights of the package at a coarse mesh."""

from dataclasses import replace

import numpy as np
import pytest
from tests.evaluation.meshes import chair

from one2345.geometry import Mesh, load_plan
from one2345.meshing import Extractor
from one2345.objects import MeshObject
from one2345.pipeline import ImageTo3D, Weights
from one2345.views.synthesis import Oracle

ELEVATION = 30.0


@pytest.fixture(scope="session")
def painted() -> Mesh:
    mesh = chair()
    return replace(mesh, colours=_colours(mesh))


def _colours(mesh: Mesh) -> np.ndarray:
    return ((mesh.vertices - mesh.vertices.min(0)) / np.ptp(mesh.vertices, axis=0)).astype(np.float32)


@pytest.fixture(scope="session")
def oracle(painted: Mesh) -> Oracle:
    return Oracle(object=MeshObject(painted, id="chair", repair=False), elevation=ELEVATION, size=64)


@pytest.fixture(scope="session")
def weights() -> Weights:
    """Those of the package, given smaller pictures than they were trained on, to be quick."""
    return replace(Weights.load(), pixels=48)


@pytest.fixture
def make_pipe(weights, oracle):
    def make(synthesizer=oracle, plan="ring8", **settings) -> ImageTo3D:
        return ImageTo3D(
            synthesizer=synthesizer, plan=load_plan(plan), extractor=Extractor(resolution=40),
            **{"weights": weights, **settings},
        )  # fmt: skip

    return make
