"""The notebooks from their sources: `python notebooks/build.py [--write] [NAME...]`.

A source is a Python file whose cells begin with `# %%` (code) or `# %% [markdown]` (text, in comments). Each is
executed in a kernel of its own, in an empty folder. Errors, words on the error stream and more than five minutes of
two cores for all of them end the run with status 1. With --write, what the cells showed is kept in NAME.ipynb, beside
the digest of the source that it came from.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode, v4

HERE = Path(__file__).resolve().parent
KEY = "one2345"
TIMEOUT = 900  # seconds of a cell, on a machine that others use as well
LIMIT = 2 * 300  # processor seconds of all: five minutes of two cores


def sources() -> list[Path]:
    """All sources, in order."""
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def digest(source: Path) -> str:
    """What a kept notebook says of the source that it came from."""
    return hashlib.sha256(source.read_bytes()).hexdigest()


def notebook(source: Path) -> NotebookNode:
    """The notebook of a source, without outputs."""
    cells: list[NotebookNode] = []
    for part in source.read_text(encoding="utf-8").split("# %%")[1:]:
        head, _, body = part.partition("\n")
        if head.strip() == "[markdown]":
            text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in body.strip().splitlines())
            cells.append(v4.new_markdown_cell(text, id=f"cell-{len(cells)}"))
        else:
            cells.append(v4.new_code_cell(body.strip(), id=f"cell-{len(cells)}"))
    return v4.new_notebook(
        cells=cells,
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python"},
            KEY: {"source": source.name, "sha256": digest(source)},
        },
    )


def execute(book: NotebookNode) -> None:
    """Run all cells in this interpreter's own kernel, in an empty folder. Raises CellExecutionError."""
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            book, timeout=TIMEOUT, kernel_name="python3", resources={"metadata": {"path": folder}},
            record_timing=False, extra_arguments=["--log-level=ERROR"],
        )  # fmt: skip
        client.execute(env=os.environ | {"PYTHONWARNINGS": "ignore", "OMP_WAIT_POLICY": "PASSIVE"})


def faults(book: NotebookNode) -> list[str]:
    """What a reader should not see among the outputs: errors and warnings on the error stream."""
    outputs = [o for cell in book.cells if cell.cell_type == "code" for o in cell.outputs]
    return [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"]


def spent() -> float:
    """Processor seconds of the kernels that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="beginnings of the names of sources; none: all")
    parser.add_argument("--write", action="store_true", help="keep what the cells showed")
    told = parser.parse_args(argv)
    chosen = [s for s in sources() if not told.names or s.stem.startswith(tuple(told.names))]
    failed = False
    for source in chosen:
        book, begin, before = notebook(source), time.monotonic(), spent()
        try:
            execute(book)
        except CellExecutionError as error:
            print(f"{source.name}: {error}", file=sys.stderr)
            failed = True
            continue
        for fault in faults(book):
            print(f"{source.name}: on the error stream: {fault}", file=sys.stderr)
            failed = True
        used = spent() - before
        print(f"{source.name}: {time.monotonic() - begin:.0f} s, {used:.0f} s of CPU", flush=True)
        if told.write:
            nbformat.write(book, source.with_suffix(".ipynb"))
    if spent() > LIMIT:
        print(f"{spent():.0f} s of CPU in all, more than {LIMIT}", file=sys.stderr)
        failed = True
    return int(failed or not chosen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
