"""Which of a repository's files are needed: those of pipelines in diffusers' layout."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.\w+)")
_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")


Choose = Callable[[Sequence[str]], list[str] | None]
"""Given the names of a repository's files, those that are needed; None where something needed is not among them."""


def choose_diffusers(parts: Iterable[str | Sequence[str]], *, variant: str | None = None) -> Choose:
    """Files of pipelines in diffusers' layout: configuration and weights of each part, a subfolder.

    parts: names of subfolders; of several in one entry, one must be there. Safetensors are taken where there
    are any, else pickled `.bin` files; shards with their index.
    """
    wanted = [(part,) if isinstance(part, str) else tuple(part) for part in parts]

    def choose(names: Sequence[str]) -> list[str] | None:
        there = set(names)
        chosen = [n for n in ("model_index.json", "scheduler/scheduler_config.json") if n in there]
        for alternatives in wanted:
            found = next((f for p in alternatives if (f := part_files(there, p, variant=variant))), None)
            if found is None:
                return None
            chosen += found
        return chosen

    return choose


def part_files(names: Iterable[str], part: str, *, variant: str | None = None) -> list[str]:
    """Files of one part of a pipeline: its config.json, then its weights; nothing where either is not there."""
    files = {n.removeprefix(f"{part}/") for n in names if n.startswith(f"{part}/") and n.count("/") == 1}
    kind = f".{variant}" if variant else ""
    for suffix in (".safetensors", ".bin"):
        for stem in _STEMS:
            name, index = f"{stem}{kind}{suffix}", f"{stem}{suffix}.index{kind}.json"
            shards = sorted(f for f in files if (m := _SHARD.fullmatch(f)) and m["stem"] in (stem, stem + kind)
                            and m["suffix"] == suffix)  # fmt: skip
            weights = [name] if name in files else []
            if not weights and index in files and shards and _whole(shards):
                weights = [index, *shards]
            if weights and "config.json" in files:
                return [f"{part}/{f}" for f in ("config.json", *weights)]
    return []


def _whole(shards: Sequence[str]) -> bool:
    return any(int(m["count"]) <= len(shards) for s in shards if (m := _SHARD.fullmatch(s)))


def list_files(folder: Path) -> list[str]:
    """Files of a folder and of its subfolders, one level down, as the hub would name them."""
    files = [f for pattern in ("*", "*/*") for f in folder.glob(pattern) if f.is_file()]
    return sorted(f.relative_to(folder).as_posix() for f in files)
