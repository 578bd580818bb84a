"""What can be told from the configuration and the file system alone, before anything heavy is imported."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from one2345.build import did_you_mean
from one2345.errors import InputError


def existing_path(key: str, value: Any, *, folder: bool | None = None) -> Path:
    """The path that `key` holds; InputError naming the nearest one that exists if it isn't there.

    folder: True if it must be a folder, False if a file, None for either.
    """
    path = Path(str(value)).expanduser()
    if not path.exists():
        raise InputError(f"{key}={value}: no such {'folder' if folder else 'file or folder'}{_nearby(path)}")
    if folder and not path.is_dir():
        raise InputError(f"{key}={value} is a file; a folder is needed")
    if folder is False and not path.is_file():
        raise InputError(f"{key}={value} is a folder; a file is needed")
    return path


def check_data(config: Mapping[str, Any]) -> None:
    """data.root must be there where nothing will make it, and hold prepared views."""
    data = config.get("data") or {}
    for folder in data.get("also") or []:
        _check_prepared(folder, key="data.also")
    if data.get("source"):
        if data.get("root"):
            check_folder_writable(Path(data["root"]), key="data.root")
        return
    if data.get("root") is None:
        raise InputError(
            "data.root is not given; data=folder needs data.root=DIR, a folder that prepare.py wrote"
        )
    _check_prepared(data["root"], key="data.root")


def _check_prepared(folder: str, *, key: str) -> None:
    """Raises InputError where `folder`, the value of `key`, is on this machine and holds no prepared views."""
    if str(folder).startswith(("s3://", "gs://", "azure://", "hf://", "local:")):
        return
    root = existing_path(key, folder, folder=True)
    packed = (root / "index.json").is_file() and (root / "catalogue.json").is_file()
    published = root.name == "zero12345_narrow" or (root / "zero12345_narrow").is_dir()
    if not (published or packed or (root / "dataset.json").is_file()):
        raise InputError(f"{key}={folder} has no dataset.json; prepare.py writes such folders")


def check_sizes(config: Mapping[str, Any]) -> None:
    """An example may not hold more views than data.recipe makes of an object.

    Where data are there already, as with data=folder, the objects themselves say how many they have.
    """
    data = config.get("data") or {}
    recipe, sizes = data.get("recipe") or {}, data.get("sizes") or {}
    views, count = sizes.get("views"), source_count(recipe.get("plan"))
    if isinstance(views, int) and count is not None and views > count:
        raise InputError(
            f"data.sizes.views={views}, but data.recipe.plan ({recipe['plan'].get('name')}) has {count} source "
            f"views; scale.views={count} takes all of them, plan=NAME chooses a larger plan"
        )
    targets = recipe.get("targets")
    if not isinstance(targets, int):
        return
    held_out = sizes.get("held_out")
    if isinstance(held_out, int) and held_out > targets:
        raise InputError(
            f"data.sizes.held_out={held_out}, but data.recipe.targets={targets}; "
            f"scale.targets={held_out} makes as many"
        )
    compared = sizes.get("targets")
    if isinstance(compared, int) and compared > targets:
        raise InputError(
            f"data.sizes.targets={compared}, but data.recipe.targets={targets}; "
            f"scale.targets={compared} makes as many, data.sizes.targets={targets} compares with fewer"
        )


def source_count(plan: Any) -> int | None:
    """Source views of a plan, given as the node of a `ViewPlan`; None for any other.

    Counted here because the plan itself would import torch.
    """
    if not isinstance(plan, Mapping) or not isinstance(plan.get("stage1"), list):
        return None
    sources = plan.get("sources", ["stage1"])
    stage1 = len(plan["stage1"])
    return stage1 * ("stage1" in sources) + stage1 * len(plan.get("near") or ()) * ("near" in sources)


def check_inputs(inputs: Mapping[str, Any] | None) -> None:
    """Predicted inputs need their folder of images."""
    if inputs and inputs.get("root") is not None:
        existing_path("inputs.root", inputs["root"], folder=True)


def check_folder_writable(folder: Path, *, key: str = "the run folder") -> None:
    """A folder that can be made or written to."""
    there = folder.expanduser().absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise InputError(f"{key} {folder}: {there} is a file")
    if not os.access(there, os.W_OK):
        raise InputError(f"{key} {folder}: {there} is not writable")


def _nearby(path: Path) -> str:
    """What the first missing part of `path` may have meant, and whether stray quotes are in the way."""
    text = os.fspath(path)
    if len(text) > 1 and text[0] in "'\"" and text[-1] == text[0]:
        return "; its quotes are taken literally, leave them to the shell"
    missing = path
    while not missing.parent.exists():
        missing = missing.parent
    try:
        siblings = [p.name for p in missing.parent.iterdir()]
    except OSError:
        return ""
    near = did_you_mean(missing.name, siblings)
    return near or (f" ({missing.parent} has no {missing.name!r})" if missing != path else "")
