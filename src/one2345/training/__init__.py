"""Lightning glue: the module, its loss terms, the optimiser and the callbacks."""

from .condition_dropout import ConditionDropout
from .meters import ThroughputMeter
from .module import ReconstructionModule
from .optim import AdamCosine
from .preemption import Preemption
from .previews import PreviewPanels
from .progress import ProgressLines, progress_callback
from .run_checkpoints import RunCheckpoints
from .synthesis_module import ValidationSampling, ViewSynthesisModule
from .terms import StepTerms, TermSettings
from .weight_average import WeightAverage

__all__ = [
    "AdamCosine",
    "ConditionDropout",
    "Preemption",
    "PreviewPanels",
    "ProgressLines",
    "ReconstructionModule",
    "RunCheckpoints",
    "StepTerms",
    "TermSettings",
    "ThroughputMeter",
    "ValidationSampling",
    "ViewSynthesisModule",
    "WeightAverage",
    "progress_callback",
]
