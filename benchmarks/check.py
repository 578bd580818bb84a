"""Has a stage lost speed? python benchmarks/check.py, or make bench-check; --renew commits to today's ratios.

Each stage at a small size beside the measuring stick, in turn: how many times less CPU time (on a CUDA device: its
time) and memory than the stick it takes, against results/check.json. A ratio that lost more than a quarter is measured
once more, with twice the repetitions; if the loss stays, this ends with status 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contestants import STAGES
from harness import as_json, machine
from run import Children, time_stage
from scene import Sizes

from one2345.errors import InputError
from one2345.files import write_atomic

LOSS = 0.25
SMALL = Sizes(views=8, pixels=128, volume=48, rays=96, lattice=96)
LEAST_MEMORY = 32 * 2**20
"""Growths below this many bytes are the allocator's, not the stage's."""

Ratios = dict[str, float]


def ratios(stage: str, seconds: Mapping[str, Mapping[str, Any]]) -> Ratios:
    """Of what `time_stage` found: by "stage/contestant/time" and "/memory", how many times more the stick takes."""
    stick = next(name for name in seconds if name.startswith("stick"))
    found: Ratios = {}
    for name, own in seconds.items():
        if name.startswith(("stick", "spconv")):
            continue
        clock = "device" if "device" in own else "cpu"
        found[f"{stage}/{name}/time"] = seconds[stick][clock]["median"] / own[clock]["median"]
        theirs, ours = seconds[stick]["growth"]["median"], own["growth"]["median"]
        if min(theirs, ours) >= LEAST_MEMORY:
            found[f"{stage}/{name}/memory"] = theirs / ours
    return found


@dataclass(frozen=True)
class Verdict:
    """lost: by name, the ratio committed and the one found, where more than LOSS of it is gone. missing: ratios that
    were committed and not found. gained: found, and better by more than LOSS."""

    lost: dict[str, tuple[float, float]]
    missing: list[str]
    gained: dict[str, tuple[float, float]]

    @property
    def passed(self) -> bool:
        return not self.lost and not self.missing


def compare(committed: Ratios, found: Ratios, *, loss: float = LOSS) -> Verdict:
    """A memory ratio may be missing, for it is only taken where there is something to see."""
    both = {name: (committed[name], found[name]) for name in committed if name in found}
    return Verdict(
        lost={name: pair for name, pair in both.items() if pair[1] < (1 - loss) * pair[0]},
        missing=sorted(n for n in committed if n not in found and not n.endswith("/memory")),
        gained={name: pair for name, pair in both.items() if (1 - loss) * pair[1] > pair[0]},
    )


def measure(stages: Sequence[str], options: argparse.Namespace, *, repeats: int) -> Ratios:
    child, found = Children(), Ratios()
    for stage in stages:
        names = [n for n in STAGES[stage] if n not in ("spconv", "stick dense") or stage == "step"]
        task = argparse.Namespace(device=options.device, repeats=repeats, budget=options.budget)
        found |= ratios(stage, child(time_stage, stage, names, SMALL, task))
        print(", ".join(f"{k} {v:.2f}" for k, v in found.items() if k.startswith(stage + "/")), flush=True)
    return found


def read(path: Path, device: str) -> Ratios:
    """The ratios of `device`; raises InputError where there are none, or none for today's sizes."""
    if not path.is_file():
        raise InputError(f"{path}: is not there; python benchmarks/check.py --renew makes it")
    kept = json.loads(path.read_text())
    if kept.get("sizes") != asdict(SMALL) or kept.get("device") != device:
        raise InputError(
            f"{path}: is of {kept.get('device')} and sizes {kept.get('sizes')}, not of {device} and "
            f"{asdict(SMALL)}; renew it with --renew"
        )
    return kept["ratios"]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"default: {', '.join(STAGES)}")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--budget", type=float, default=20.0, help="CPU seconds per contestant and stage")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--kept", type=Path, default=Path(__file__).parent / "results" / "check.json")
    parser.add_argument("--renew", action="store_true")
    options = parser.parse_args(arguments)
    stages = options.stages or tuple(STAGES)
    if options.renew:
        report = {
            "sizes": asdict(SMALL), "device": options.device, "machine": machine(("one2345", "torch")),
            "date": f"{datetime.now(UTC):%Y-%m-%d}", "ratios": measure(stages, options, repeats=options.repeats),
        }  # fmt: skip
        write_atomic(options.kept, as_json(report))
        return 0
    try:
        committed = read(options.kept, options.device)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    committed = {k: v for k, v in committed.items() if k.split("/")[0] in stages}
    found = measure(stages, options, repeats=options.repeats)
    suspects = sorted({name.split("/")[0] for name in compare(committed, found).lost})
    if suspects:
        print(f"once more: {', '.join(suspects)}", flush=True)
        found |= measure(suspects, options, repeats=2 * options.repeats)
    verdict = compare(committed, found)
    for name, (before, now) in verdict.lost.items():
        print(f"LOST {name}: {before:.2f} times less than the stick, now {now:.2f}")
    for name in verdict.missing:
        print(f"MISSING {name}")
    for name, (before, now) in verdict.gained.items():
        print(f"gained {name}: {before:.2f} to {now:.2f}; --renew keeps it")
    print("passed" if verdict.passed else "failed")
    return 0 if verdict.passed else 1


if __name__ == "__main__":
    sys.exit(main())
