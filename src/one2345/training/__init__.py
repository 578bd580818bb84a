"""Lightning glue: the module, its loss terms, the optimiser and the callbacks."""

from .last_checkpoint import LastCheckpoint
from .meters import ThroughputMeter
from .module import ReconstructionModule
from .optim import AdamCosine
from .previews import PreviewPanels
from .progress import ProgressLines, progress_callback
from .terms import StepTerms, TermSettings

__all__ = [
    "AdamCosine",
    "LastCheckpoint",
    "PreviewPanels",
    "ProgressLines",
    "ReconstructionModule",
    "StepTerms",
    "TermSettings",
    "ThroughputMeter",
    "progress_callback",
]
