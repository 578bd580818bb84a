"""Training and evaluation data: sources, preparation, data sets."""

from .batch import Scene, SceneBatch, TargetRays, collate
from .dataset import SceneSizes, ViewsDataset
from .prepare import PrepareSummary, prepare_objects
from .recipe import Recipe, SampleSizes
from .sampler import Draw, ObjectSampler
from .sources import FolderSource, LoadedObject, ShapesSource, Source

__all__ = [
    "Draw",
    "FolderSource",
    "LoadedObject",
    "ObjectSampler",
    "PrepareSummary",
    "Recipe",
    "SampleSizes",
    "Scene",
    "SceneBatch",
    "SceneSizes",
    "ShapesSource",
    "Source",
    "TargetRays",
    "ViewsDataset",
    "collate",
    "prepare_objects",
]
