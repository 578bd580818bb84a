"""Posed images: in memory and on disk."""

from .posed_views import ROLES, PosedViews, Role
from .reader import ObjectRecord, list_objects, object_folder, read_dataset, read_object
from .samples import Samples, read_samples, write_samples
from .schema import SCHEMA_NAME, SCHEMA_VERSION, check_id
from .writer import remove_stale, write_json, write_object

__all__ = [
    "ROLES",
    "SCHEMA_NAME",
    "SCHEMA_VERSION",
    "ObjectRecord",
    "PosedViews",
    "Role",
    "Samples",
    "check_id",
    "list_objects",
    "object_folder",
    "read_dataset",
    "read_object",
    "read_samples",
    "remove_stale",
    "write_json",
    "write_object",
    "write_samples",
]
