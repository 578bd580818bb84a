"""Convert a released One-2-3-45 checkpoint: `python -m one2345.models.import_published CKPT OUT.safetensors`."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from one2345.errors import CheckpointError, InputError, One2345Error
from one2345.weight_files import read_plain, write_release

from .sparseneus import SparseNeus
from .sparseneus.released import NETWORKS, released_sources

CONFIG: dict[str, Any] = {
    "_target_": "one2345.models.SparseNeus",
    "published_quirks": True,
    "norm": "batch",
    "resolution": 96,
}
"""How released weights were run: every quirk, and statistics of the input."""


@dataclass(frozen=True)
class ImportReport:
    """What became of every key of a checkpoint: mapped (ours, theirs), and unused with the reason."""

    mapped: tuple[tuple[str, str], ...]
    unused: tuple[tuple[str, str], ...]
    steps: int | None

    def __str__(self) -> str:
        lines = [f"mapped   {theirs} -> {own}" for own, theirs in self.mapped]
        lines += [f"unused   {key} ({why})" for key, why in self.unused]
        steps = "unknown" if self.steps is None else f"{self.steps:,}"
        lines.append(
            f"{len(self.mapped)} mapped, {len(self.unused)} unused, 0 missing; trained for {steps} steps"
        )
        return "\n".join(lines)


def import_published(checkpoint: Path | str) -> tuple[SparseNeus, ImportReport]:
    """The network of a released checkpoint, in evaluation mode, and what became of its keys.

    Reads tensors and plain values only. Raises CheckpointError naming the file and what is wrong with it: missing,
    damaged, no such checkpoint, keys missing or unknown, tensors of another shape or not finite.
    """
    file = Path(checkpoint)
    content = _read(file)
    model = SparseNeus(**{key: value for key, value in CONFIG.items() if key != "_target_"})
    mapped = load_released(model, content, where=file)
    unused = [(key, _why(key)) for key in content if key not in NETWORKS]
    steps = content.get("iter_step")
    report = ImportReport(
        mapped=mapped,
        unused=tuple(unused),
        steps=steps if isinstance(steps, int) else None,
    )
    return model.eval(), report


def load_released(
    model: SparseNeus, content: Mapping[str, Any], *, where: Path
) -> tuple[tuple[str, str], ...]:
    """Put the four networks of a released checkpoint into `model`; our names and theirs.

    Raises CheckpointError naming `where` and the keys that are missing, unknown, of another shape or not finite.
    """
    wanted = model.state_dict()
    sources = released_sources(wanted)
    state: dict[str, Tensor] = {}
    problems: list[str] = []
    for own, source in sources.items():
        found = content[source.network].get(source.key)
        if not isinstance(found, Tensor):
            problems.append(f"missing {source.name}")
            continue
        try:
            state[own] = source.convert(found)
        except RuntimeError:  # not of a shape that can be rearranged
            state[own] = found
        if state[own].shape != wanted[own].shape:
            problems.append(f"{source.name} has shape {tuple(found.shape)}")
        elif not torch.isfinite(state[own]).all():
            problems.append(f"{source.name} is not finite")
    taken = {(source.network, source.key) for source in sources.values()}
    problems += [
        f"unknown {network}/{key}"
        for network in NETWORKS
        for key in content[network]
        if (network, key) not in taken
    ]
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(
            f"{where}: not the released network of one level of detail: {'; '.join(problems[:3])}{more}"
        )
    model.load_state_dict(state)
    return tuple((own, source.name) for own, source in sources.items())


def _read(file: Path) -> dict[str, Any]:
    """The checkpoint's dictionary, with its four networks."""
    if not file.is_file():
        raise CheckpointError(f"{file}: no such file; give the released checkpoint, ckpt_215000.pth")
    content = read_plain(file)
    absent = [name for name in NETWORKS if not isinstance(content.get(name), Mapping)]
    if absent:
        raise CheckpointError(f"{file}: not a released One-2-3-45 checkpoint: it has no {', '.join(absent)}")
    return {str(key): value for key, value in content.items()}


def _why(key: str) -> str:
    return {"optimizer": "state of Adam", "iter_step": "counts steps", "val_step": "counts validations"}.get(
        key, "not part of the network"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit status 2 for files that can't be used."""
    parser = argparse.ArgumentParser(
        prog="python -m one2345.models.import_published",
        description="Convert a released One-2-3-45 reconstruction checkpoint to this project's weights.",
    )
    parser.add_argument("checkpoint", type=Path, help="ckpt_215000.pth of the release")
    parser.add_argument("out", type=Path, help="what to write, *.safetensors")
    arguments = parser.parse_args(argv)
    try:
        if arguments.out.suffix != ".safetensors":
            raise InputError(f"{arguments.out}: the weights are written as .safetensors")
        model, report = import_published(arguments.checkpoint)
        digest = hashlib.sha256(arguments.checkpoint.read_bytes()).hexdigest()
        record = {
            "model": CONFIG,
            "pixels": 256,
            "scale": "paper",
            "imported": {"from": arguments.checkpoint.name, "sha256": digest, "steps": report.steps},
        }
        try:
            write_release(arguments.out, model.state_dict(), record)
        except OSError as error:
            raise InputError(f"{arguments.out}: can't be written ({error.strerror})") from error
    except One2345Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report)
    print(f"wrote {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
