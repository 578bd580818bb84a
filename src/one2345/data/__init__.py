"""Training and evaluation data: sources, preparation, data sets."""

from .batch import Scene, SceneBatch, TargetRays, collate
from .dataset import SceneSizes, ViewsDataset
from .gso import GsoSource
from .objaverse import ObjaverseSource
from .object_list import ListedObject, ObjectList, load_object_list, object_lists
from .pairs import PairBatch, PairsDataset, PairSettings
from .prepare import PrepareSummary, prepare_objects
from .recipe import Recipe, SampleSizes
from .sampler import Draw, ObjectSampler
from .sources import FolderSource, LoadedObject, MeshSource, ShapesSource, Source, open_meshes

__all__ = [
    "Draw",
    "FolderSource",
    "GsoSource",
    "ListedObject",
    "LoadedObject",
    "MeshSource",
    "ObjaverseSource",
    "ObjectList",
    "ObjectSampler",
    "PairBatch",
    "PairSettings",
    "PairsDataset",
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
    "load_object_list",
    "object_lists",
    "open_meshes",
    "prepare_objects",
]
