"""Download a collection of models: resumable, checksummed, a few at a time."""

from .archive import unpack
from .collection import GSO, Collection
from .fetch import Patience, fetch
from .models import DownloadSummary, download_models
from .objaverse_index import Annotation, ObjaverseIndex
from .objects import Record, RemoteFile, download_objects

__all__ = [
    "GSO",
    "Annotation",
    "Collection",
    "DownloadSummary",
    "ObjaverseIndex",
    "Patience",
    "Record",
    "RemoteFile",
    "download_models",
    "download_objects",
    "fetch",
    "unpack",
]
