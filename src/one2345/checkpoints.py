"""Weights with the configuration that builds their network: saving, finding, loading.

Two kinds of file: a training checkpoint (`*.ckpt`, tensors and plain values only, so that it loads with
`weights_only=True`) and a release (`*.safetensors`, the configuration in its metadata). Both carry the plain
configuration of the model; it may name only the classes of `PARTS`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import Module

from .build import build
from .checkpoint_folder import BEST, newest
from .errors import CheckpointError, InputError
from .files import write_atomic
from .models import ReconstructionNetwork
from .paths import PACKAGE
from .weight_files import FORMAT, check_names, read_plain, write_release

PRETRAINED = PACKAGE / "weights" / "sdf_base.safetensors"
RELEASE = "model.safetensors"
KEY = "one2345"
AVERAGE = "average"
"""Of a training checkpoint: the average of the weights, where one was kept. Readers get it in their place."""
PREFIX = "model."
# All that the configuration of a network is made of, and so all that one which comes with a file may name.
PARTS = ("one2345.models", "one2345.rendering.Variance")


def load_reconstructor(path: str | Path) -> tuple[ReconstructionNetwork, dict[str, Any]]:
    """The network in evaluation mode and the record that came with it.

    path: `pretrained`, a `.safetensors` release or a folder with one, a `.ckpt` or a run folder (its best checkpoint,
    else its last).
    The record holds `model`, the network's configuration; `scale`, the name of the sizes it was trained at, if
    that is known; and notes. Raises CheckpointError naming the file and what is wrong: missing, damaged, not
    ours, of another model.
    """
    file = find_checkpoint(path)
    state, record = _read(file)
    try:
        model = build(record["model"], allowed=PARTS)
    except (InputError, TypeError, RuntimeError) as error:  # values of the wrong type or size come as these
        raise CheckpointError(f"{file}: its model configuration can't be built: {error}") from error
    if not isinstance(model, ReconstructionNetwork):
        raise CheckpointError(f"{file}: holds a {type(model).__name__}, not a reconstruction network")
    _load_state(model, state, file)
    return model.eval(), record


def load_weights(model: Module, path: str | Path) -> dict[str, Any]:
    """Put the weights of `path` into `model`, which is built already; the record that came with them.

    For a network of the user's own classes, which a checkpoint's configuration may not name. Raises
    CheckpointError as `load_reconstructor` does.
    """
    file = find_checkpoint(path)
    state, record = _read(file)
    _load_state(model, state, file)
    return record


def read_record(path: str | Path) -> dict[str, Any]:
    """The record of `load_reconstructor` alone, its `model` not built. Raises CheckpointError."""
    return _read(find_checkpoint(path))[1]


def find_checkpoint(path: str | Path) -> Path:
    """The weights file that `path` means; see `load_reconstructor`. A file of the name is `./pretrained`."""
    if path == "pretrained":
        file = PRETRAINED
    else:
        file = Path(path).expanduser()
        if (file / RELEASE).is_file():
            file = file / RELEASE
        elif file.is_dir():
            folder = file / "checkpoints" if (file / "checkpoints").is_dir() else file
            found = folder / BEST if (folder / BEST).is_file() else newest(folder)
            if found is None:
                raise CheckpointError(
                    f"{file}: no {RELEASE} in this folder, and no {BEST} or step-*.ckpt in it or in its checkpoints/"
                )
            file = found
    if not file.is_file():
        raise CheckpointError(
            f"{file}: no such checkpoint; give a .ckpt, a .safetensors, a run folder or 'pretrained'"
        )
    return file


def save_release(path: Path, model: ReconstructionNetwork, record: Mapping[str, Any]) -> None:
    """Write weights and record as one safetensors file.

    record: needs the plain `model` configuration; its `scale` names the sizes that evaluation then takes.
    """
    write_release(path, model.state_dict(), record)


def save_folder(folder: Path, model: ReconstructionNetwork, record: Mapping[str, Any], *, card: str) -> None:
    """Write a release as a folder that a hub takes as it is: model.safetensors, config.json (the record), README.md."""
    write_atomic(folder / "README.md", card)
    write_atomic(folder / "config.json", json.dumps(dict(record), indent=2, sort_keys=True) + "\n")
    save_release(folder / RELEASE, model, record)


def training_record(model_config: Mapping[str, Any], *, pixels: int | None = None) -> dict[str, Any]:
    """What a training checkpoint stores under the key `one2345`. pixels: edge of the pictures it was given."""
    return {"format": FORMAT, "model": dict(model_config), "pixels": pixels}


def trained_pixels(record: Mapping[str, Any]) -> int | None:
    """Edge of the pictures that the network of `record` was trained on; None if it doesn't say."""
    sizes = (record.get("training") or {}).get("sizes") or {}
    found = record.get("pixels") or sizes.get("pixels")
    return found if isinstance(found, int) and 8 <= found <= 4096 else None


def _read(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights of the network by name, and the record; CheckpointError for any other content."""
    state, record = _read_release(file) if file.suffix == ".safetensors" else _read_training(file)
    if not isinstance(record.get("model"), Mapping):
        raise CheckpointError(f"{file}: its record holds no configuration of the model (key `model`)")
    return state, record


def _read_release(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(file, framework="pt") as reader:
            metadata = reader.metadata() or {}
            state = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file}: damaged or not a safetensors file ({error})") from error
    _check_format(metadata.get("format"), file)
    try:
        record = json.loads(metadata.get("record", ""))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: the `record` in its metadata is not JSON ({error})") from error
    if not isinstance(record, dict):
        raise CheckpointError(f"{file}: the `record` in its metadata is no JSON object")
    return state, record


def _read_training(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    content = read_plain(file)
    record = content.get(KEY)
    if not isinstance(record, dict):
        record = {}
    _check_format(record.get("format"), file)
    weights = content.get("state_dict")
    if not isinstance(weights, dict) or not all(isinstance(t, Tensor) for t in weights.values()):
        raise CheckpointError(f"{file}: holds no weights (key `state_dict`)")
    state = {n.removeprefix(PREFIX): t for n, t in weights.items() if n.startswith(PREFIX)}
    kept = content.get(AVERAGE)
    if kept is None:
        return state, record
    averages = kept.get("average") if isinstance(kept, dict) else None
    if not isinstance(averages, dict) or not averages.keys() <= state.keys():
        raise CheckpointError(f"{file}: its average of the weights (key `{AVERAGE}`) is of another network")
    if not all(isinstance(t, Tensor) for t in averages.values()):
        raise CheckpointError(f"{file}: its average of the weights (key `{AVERAGE}`) holds no tensors")
    return state | averages, record


def _check_format(found: object, file: Path) -> None:
    if found != FORMAT:
        raise CheckpointError(
            f"{file}: not weights of this project's reconstruction network (format {found!r})"
        )


def _load_state(model: Module, state: Mapping[str, Tensor], file: Path) -> None:
    check_names(model.state_dict(), state, where=file)
    model.load_state_dict(dict(state))
