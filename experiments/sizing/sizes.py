"""What 46,000 and 800,000 objects need, computed from what a smaller preparation measured.

    python experiments/sizing/sizes.py PREPARED [--shards DIR] [--core-seconds S] [--objects N ...] [--out FILE]

PREPARED is a folder that prepare.py wrote: its manifest says how long every object took and how large it is. Printed is
a Markdown table; FILE gets the measured figures as JSON. The manifest knows wall-clock seconds: where the cores had
other work beside it, S says what `time` found for some objects and one worker.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from one2345.data.ledger import Ledger

# One-2-3-45's authors, on an A100: 40 pictures of Zero123 (75 and 50 steps) at about 1 s each. Not measured here.
SECONDS_A_PICTURE, PICTURES = 1.0, 32
MB, TB = 1e6, 1e12


def measured(prepared: Path, shards: Path | None) -> dict[str, float]:
    """Means per object; core_seconds counts objects that could not be prepared as well, per object tried."""
    rows = Ledger(prepared, create=False).rows("render", states=("done", "failed", "rejected"))
    done = [row for row in rows if row.state == "done"]
    files = sum(1 for row in done[:200] for p in (prepared / "objects" / row.id).rglob("*") if p.is_file())
    seconds = [row.seconds for row in rows if row.seconds is not None]
    found = {
        "tried": len(rows),
        "prepared": len(done),
        "core_seconds": sum(seconds) / max(1, len(seconds)),
        "bytes": sum(row.bytes or 0 for row in done) / len(done),
        "files": files / len(done[:200]),
    }
    if shards is not None:
        chunks = [p.stat().st_size for p in shards.glob("chunk-*.bin")]
        found |= {"shard_bytes": sum(chunks) / len(done), "chunk_files": len(chunks) / len(done)}
    return found


def table(found: dict[str, float], counts: list[int]) -> str:
    """Markdown: one column per count of prepared objects."""
    share = found["prepared"] / found["tried"]
    lines = {
        "prepared, bytes": lambda n: f"{n * found['bytes'] / TB:.2f} TB",
        "prepared, files": lambda n: f"{n * found['files'] / 1e6:.1f} million",
        "rendering and labels, core hours": lambda n: f"{n / share * found['core_seconds'] / 3600:,.0f}",
        "predictions of 32 views, GPU hours (A100, published time)": lambda n: (
            f"{n * PICTURES * SECONDS_A_PICTURE / 3600:,.0f}"
        ),
    }
    if "shard_bytes" in found:
        lines |= {
            "shards, bytes": lambda n: f"{n * found['shard_bytes'] / TB:.2f} TB",
            "shards, files": lambda n: f"{n * found['chunk_files']:,.0f}",
        }
    rows = ["| | " + " | ".join(f"{n:,} objects" for n in counts) + " |", "|---|" + "---|" * len(counts)]
    rows += [f"| {name} | " + " | ".join(value(n) for n in counts) + " |" for name, value in lines.items()]
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--shards", type=Path)
    parser.add_argument("--objects", type=int, nargs="+", default=[46_000, 800_000])
    parser.add_argument(
        "--core-seconds", type=float, help="per object, in place of the manifest's wall-clock seconds"
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = measured(options.prepared, options.shards)
    if options.core_seconds is not None:
        found["core_seconds"] = options.core_seconds
    print(
        f"measured: {found['prepared']:.0f} of {found['tried']:.0f} objects prepared, {found['core_seconds']:.2f} core "
        f"seconds, {found['bytes'] / MB:.2f} MB and {found['files']:.0f} files an object"
    )
    print(table(found, options.objects))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
