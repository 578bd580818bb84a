"""Lightning glue: the module, its loss terms, the optimiser and the callbacks."""

from .batch_file import load_batch
from .condition_dropout import ConditionDropout
from .determinism import determinism
from .media import Media
from .meters import ThroughputMeter
from .module import ReconstructionModule
from .object_table import ObjectTable
from .optim import AdamCosine
from .preemption import Preemption
from .previews import PreviewPanels
from .progress import TrainingProgress
from .run_checkpoints import RunCheckpoints
from .sample_panels import SamplePanels
from .step_guard import StepGuard
from .synthesis_module import ValidationSampling, ViewSynthesisModule
from .terms import StepTerms, TermSettings
from .weight_average import WeightAverage

__all__ = [
    "AdamCosine",
    "ConditionDropout",
    "Media",
    "ObjectTable",
    "Preemption",
    "PreviewPanels",
    "ReconstructionModule",
    "RunCheckpoints",
    "SamplePanels",
    "StepGuard",
    "StepTerms",
    "TermSettings",
    "ThroughputMeter",
    "TrainingProgress",
    "ValidationSampling",
    "ViewSynthesisModule",
    "WeightAverage",
    "determinism",
    "load_batch",
]
