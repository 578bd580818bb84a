"""Preparation killed at random moments, compared with a run that nothing disturbed.

    python experiments/killed/killed.py ROOT --work DIR [--objects 40] [--kills 5] [--out FILE]

ROOT: a folder of meshes with a manifest.csv that has a column `tier`; every n-th object of tier core is taken. DIR:
where both are prepared. Each kill is SIGKILL to the command, after a drawn number of objects and a drawn time more.
All the while another thread looks at what a loader would see: every object must be whole as soon as it is there.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from one2345.data.ledger import MANIFEST, Ledger
from one2345.data.sources import FolderSource
from one2345.views import list_objects, object_folder, read_object

REPOSITORY = Path(__file__).resolve().parents[2]


def command(root: Path, ids: list[str], out: Path) -> list[str]:
    return [
        sys.executable, str(REPOSITORY / "prepare.py"), "source=folder", f"source.root={root}",
        f"source.ids=[{','.join(ids)}]", "plan=published", "render.size=256", "workers=2", f"out={out}",
    ]  # fmt: skip


def ended(out: Path) -> int:
    """How many objects are done, or have failed."""
    if not (out / MANIFEST).is_file():
        return 0
    counts = Ledger(out).counts("render")
    return counts["done"] + counts["failed"]


class Watcher(threading.Thread):
    """Reads every object once as soon as a loader could; the first that is not whole is the error."""

    def __init__(self, out: Path) -> None:
        super().__init__(daemon=True)
        self.out, self.over, self.seen = out, threading.Event(), set[str]()
        self.error: Exception | None = None

    def run(self) -> None:
        while not self.over.wait(0.02) and self.error is None:
            for id in list_objects(self.out) if (self.out / "dataset.json").is_file() else ():
                if id not in self.seen:
                    try:
                        read_object(object_folder(self.out, id)).check()
                    except Exception as error:  # noqa: BLE001 - that is what is looked for
                        self.error = error
                    self.seen.add(id)


def outcome(out: Path) -> dict[str, tuple[str, str | None]]:
    """Of each object what became of it, and the hash of all its files."""
    return {row.id: (row.state, row.hash) for row in Ledger(out).rows("render")}


def killed(root: Path, ids: list[str], out: Path, *, kills: int, seed: int) -> list[dict[str, Any]]:
    """How far each run had come when it was killed; the last one is left to end."""
    draws, found = random.Random(seed), []
    for target in sorted(draws.sample(range(len(ids) - kills), kills)):
        run = subprocess.Popen(command(root, ids, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while ended(out) < target:
            if run.poll() is not None:
                raise SystemExit(f"the run ended by itself with status {run.returncode}")
            time.sleep(0.02)
        time.sleep(draws.uniform(0.0, 2.0))
        at_work = run.poll() is None
        run.send_signal(signal.SIGKILL)
        run.wait()
        claimed = len(Ledger(out).rows("render", states=("claimed",))) if (out / MANIFEST).is_file() else 0
        found.append({"at_work": at_work, "ended": ended(out), "claimed": claimed})
        print(found[-1], flush=True)
    subprocess.run(command(root, ids, out), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--objects", type=int, default=40)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    there = FolderSource(root=options.root, where={"tier": "core"}).ids()
    ids = there[:: len(there) // options.objects][: options.objects]
    undisturbed, disturbed = options.work / "undisturbed", options.work / "killed"
    if undisturbed.exists() or disturbed.exists():
        parser.error(f"{options.work} holds an earlier run; choose another folder")
    start = time.monotonic()
    subprocess.run(command(options.root, ids, undisturbed), check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - start
    watcher = Watcher(disturbed)
    watcher.start()
    kills = killed(options.root, ids, disturbed, kills=options.kills, seed=options.seed)
    watcher.over.set()
    watcher.join()
    if watcher.error is not None:
        raise watcher.error
    one, other = outcome(undisturbed), outcome(disturbed)
    report = {
        "objects": len(ids),
        "done": sum(state == "done" for state, _ in one.values()),
        "failed": sum(state == "failed" for state, _ in one.values()),
        "seconds_undisturbed": round(seconds, 1),
        "kills": kills,
        "whole_as_soon_as_seen": len(watcher.seen),
        "same": sum(one[id] == other.get(id) for id in one),
    }
    print(json.dumps(report))
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n")
    if one != other:
        raise SystemExit(f"different: {[id for id in one if one[id] != other.get(id)]}")


if __name__ == "__main__":
    main()
