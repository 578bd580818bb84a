"""How good meshes are: protocols as data, alignment, metrics, predictors on objects, tables and a report."""

from .alignment import Aligner, Alignment
from .appearance import Appearance, LoadedAppearance
from .baselines import (
    HULL_RESOLUTIONS,
    VisualHull,
    bounding_sphere,
    exact_inputs,
    visual_hull_mesh,
    visual_hulls,
)
from .cameras import CameraRings, VisibleSurface
from .evaluator import evaluate
from .measure import Measured, measure
from .mesh_truth import MeshTruth
from .metrics import ObjectMean
from .occupancy import occupy
from .prediction import FAILURES, Case, Prediction, Predictor
from .protocol import EvaluationProtocol, OccupancyGrid
from .sampling import sample_surface
from .statistics import Paired, Statistic
from .summary import Row, Summary
from .surface import SurfaceCloud
from .terminal import print_table
from .truth import RecordTruth, Truth, by_azimuth

__all__ = [
    "FAILURES",
    "HULL_RESOLUTIONS",
    "Aligner",
    "Alignment",
    "Appearance",
    "CameraRings",
    "Case",
    "EvaluationProtocol",
    "LoadedAppearance",
    "Measured",
    "MeshTruth",
    "ObjectMean",
    "OccupancyGrid",
    "Paired",
    "Prediction",
    "Predictor",
    "RecordTruth",
    "Row",
    "Statistic",
    "Summary",
    "SurfaceCloud",
    "Truth",
    "VisibleSurface",
    "VisualHull",
    "bounding_sphere",
    "by_azimuth",
    "evaluate",
    "exact_inputs",
    "measure",
    "occupy",
    "print_table",
    "sample_surface",
    "visual_hull_mesh",
    "visual_hulls",
]
