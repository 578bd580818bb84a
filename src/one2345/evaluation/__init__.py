"""How good meshes are: metrics, a protocol as data, predictors on prepared objects, a report."""

from .baselines import HULL_RESOLUTIONS, VisualHull, exact_inputs, visual_hull_mesh, visual_hulls
from .evaluator import evaluate
from .metrics import ObjectMean
from .occupancy import grid_occupancy, is_closed
from .prediction import FAILURES, Prediction, Predictor
from .protocol import EvaluationProtocol
from .report import print_table
from .summary import Row, Statistic, Summary
from .truth import Truth, by_azimuth, draw, evaluate_mesh, sample_mesh

__all__ = [
    "FAILURES",
    "HULL_RESOLUTIONS",
    "EvaluationProtocol",
    "ObjectMean",
    "Prediction",
    "Predictor",
    "Row",
    "Statistic",
    "Summary",
    "Truth",
    "VisualHull",
    "by_azimuth",
    "draw",
    "evaluate",
    "evaluate_mesh",
    "exact_inputs",
    "grid_occupancy",
    "is_closed",
    "print_table",
    "sample_mesh",
    "visual_hull_mesh",
    "visual_hulls",
]
