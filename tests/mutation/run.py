"""Do the tests notice? Breaks one line of a copy of the tree at a time and runs the test file that guards it.

    make mutation [ARGS="--only 3 7"]

Every test file must go red, and green with the tree as it is. The table is written to docs/mutation.md.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "mutation.md"
COPIED = ("src", "tests", "conf", "slurm", "pyproject.toml", "Makefile", "train.py", "evaluate.py")
LIMIT = 600.0  # seconds for one test file
HEAD = """# Which test notices which broken line

`make mutation` breaks each of these lines in a copy of the tree and runs the test file beside it, which has to fail.
The same files pass with the tree as it is. They guard what must survive an interruption: order of the data,
checkpoints, resume, preemption.

| # | file in src/one2345 | line | broken to | test file | first test that fails | seconds |
|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Mutation:
    """`line` of a file (it stands there once) becomes `broken`; `test` must notice."""

    file: str
    line: str
    broken: str
    test: str


RESUME = "tests/training/test_resume.py"
KEPT = "tests/training/test_run_checkpoints.py"
STOPS = "tests/training/test_preemption.py"
ORDER = "tests/data/test_sampler.py"
SHARDS = "tests/data/test_shards.py"

MUTATIONS = (
    Mutation(
        "data/sampler.py", "range(self.start + self.rank, self._end", "range(self.start, self._end", ORDER
    ),
    Mutation("data/sampler.py", '"order", self.epoch, repeat)', '"order", repeat)', ORDER),
    Mutation(
        "data/sampler.py", "start = self.start + batches * self.batch", "start = batches * self.batch", SHARDS
    ),
    Mutation("data/loader.py", "self._handed_out += 1", "self._handed_out += 0", RESUME),
    Mutation("training/run_checkpoints.py", "set_rng_state(states[trainer.global_rank])", "pass", RESUME),
    Mutation(
        "training/run_checkpoints.py",
        "            set_rng_state(self._before_validation)",
        "            pass",
        KEPT,
    ),
    Mutation(
        "training/loop_state.py", "done=ready if validation_due else ready - 1", "done=ready - 1", RESUME
    ),
    Mutation("training/loop_state.py", "% trainer.accumulate_grad_batches == 0", "% 1 == 0", STOPS),
    Mutation("training/run_checkpoints.py", "if s <= step][: self.keep]", "][: self.keep]", KEPT),
    Mutation("checkpoint_folder.py", "if (fault := damage(file)) is None:", "if True:", KEPT),
    Mutation(
        "checkpoint_folder.py", "if s is not None), reverse=True", "if s is not None), reverse=False", KEPT
    ),
    Mutation(
        "training/preemption.py", "self.asked = self.asked or signal.Signals(number).name", "pass", STOPS
    ),
    Mutation(
        "training/preemption.py",
        "all(keeper.save(trainer) for keeper in keepers)",
        "all(keeper is not None for keeper in keepers)",
        STOPS,
    ),
    Mutation("training/preemption.py", "        signals.restore(self._before)", "        pass", STOPS),
    Mutation(
        "training/preemption.py",
        "if self._before is not None and not trainer.sanity_checking and ends_step(trainer):",
        "if False:",
        STOPS,
    ),
)


@dataclass(frozen=True)
class Outcome:
    """noticed: the file failed in one of its tests. first: which; else how the run ended."""

    noticed: bool
    first: str
    seconds: float


def check(mutations: Sequence[Mutation]) -> None:
    """Every line stands in its file once, and every test file is there."""
    for m in mutations:
        count = (ROOT / "src" / "one2345" / m.file).read_text(encoding="utf-8").count(m.line)
        if count != 1 or not (ROOT / m.test).is_file():
            sys.exit(f"{m.file} has {m.line!r} {count} times, expected once; or {m.test} is missing")


def copy(folder: Path) -> Path:
    """The tree, without what git ignores of it."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)
    return folder


def run_tests(tree: Path, file: str) -> Outcome:
    """One test file, up to its first failure, with the package of `tree`."""
    environment = os.environ | {
        "PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    argv = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not slow and not gpu and not cluster", file]
    begun = time.monotonic()
    try:
        done = subprocess.run(
            [*argv, "-p", "no:cacheprovider"],
            cwd=tree, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Outcome(False, f"not done after {LIMIT:.0f} s", LIMIT)
    failed = re.search(r"^FAILED \S+?::([\w\[\]\-.,]+)", done.stdout, re.MULTILINE)
    words = failed[1] if failed else f"status {done.returncode}: {done.stdout[-200:].strip()}"
    return Outcome(done.returncode == 1 and failed is not None, words, time.monotonic() - begun)


def try_one(mutation: Mutation) -> Outcome:
    """The guarding test with the line broken, in a copy of its own."""
    with tempfile.TemporaryDirectory(prefix="one2345-mutation-") as folder:
        tree = copy(Path(folder))
        file = tree / "src" / "one2345" / mutation.file
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace(mutation.line, mutation.broken), encoding="utf-8")
        return run_tests(tree, mutation.test)


def try_whole(test: str) -> Outcome:
    """The test as it is: one that fails anyhow would notice nothing."""
    with tempfile.TemporaryDirectory(prefix="one2345-mutation-") as folder:
        return run_tests(copy(Path(folder)), test)


def row(number: int, mutation: Mutation, outcome: Outcome) -> str:
    """A line of the table."""
    first = f"`{outcome.first}`" if outcome.noticed else f"**none** ({outcome.first})"
    cells = [
        str(number), f"`{mutation.file}`", f"`{mutation.line.strip()}`", f"`{mutation.broken.strip()}`",
        f"`{mutation.test}`", first, f"{outcome.seconds:.0f}",
    ]  # fmt: skip
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def main() -> int:
    """Status 0 if every broken line was noticed and every test passes without."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", type=int, nargs="+", help="numbers of the lines to break; writes no page")
    parser.add_argument("--jobs", type=int, default=2, help="test files that run at a time")
    given = parser.parse_args()
    check(MUTATIONS)
    chosen = {n: m for n, m in enumerate(MUTATIONS, 1) if given.only is None or n in given.only}
    begun = time.monotonic()
    missed: list[str] = []
    with ThreadPoolExecutor(given.jobs) as pool:
        tests = sorted({m.test for m in chosen.values()})
        whole = dict(zip(tests, pool.map(try_whole, tests), strict=True))
        for test, outcome in whole.items():
            green = outcome.first.startswith("status 0")
            print(f"{'green' if green else 'RED'} {test} as it is ({outcome.seconds:.0f} s)", flush=True)
            missed += [] if green else [test]
        rows = []
        for (number, mutation), outcome in zip(
            chosen.items(), pool.map(try_one, chosen.values()), strict=True
        ):
            rows.append(row(number, mutation, outcome))
            print(rows[-1], flush=True)
            missed += [] if outcome.noticed else [f"{number}"]
    minutes = (time.monotonic() - begun) / 60
    print(
        f"{minutes:.1f} minutes; "
        + (f"not noticed: {', '.join(missed)}" if missed else "every line is guarded")
    )
    if given.only is None:
        PAGE.write_text(
            HEAD + "\n".join(rows) + f"\n\nThe last run took {minutes:.0f} minutes.\n", encoding="utf-8"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
