"""One small prepared folder of balls, shared by the tests that only read."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.data.spheres import RECIPE, Balls

from one2345.data import prepare_objects


@pytest.fixture(scope="session")
def balls(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("balls")
    prepare_objects(Balls(5), out=root, recipe=RECIPE, workers=1)
    return root
