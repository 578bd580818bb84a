"""Weights of others: in the hub's local cache, fetched, or files of the user's; nothing here needs torch."""

from .files import WeightsUnavailable, fetch, sha256, stated_sha256
from .layouts import Choose, choose_diffusers, list_files, part_files
from .models import cache_folder, hub_folder, is_hub_name
from .zero123 import Pose, Source, find_weights

__all__ = [
    "Choose",
    "Pose",
    "Source",
    "WeightsUnavailable",
    "cache_folder",
    "choose_diffusers",
    "fetch",
    "find_weights",
    "hub_folder",
    "is_hub_name",
    "list_files",
    "part_files",
    "sha256",
    "stated_sha256",
]
