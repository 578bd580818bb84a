"""Download a collection of models: resumable, checksummed, a few at a time."""

from .archive import unpack
from .collection import GSO, Collection
from .fetch import Patience, fetch
from .models import DownloadSummary, download_models

__all__ = ["GSO", "Collection", "DownloadSummary", "Patience", "download_models", "fetch", "unpack"]
