"""The notebooks run, and what is kept of them is what their sources give."""

import importlib.util
import time
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("notebooks_build", ROOT / "notebooks" / "build.py")
assert SPEC is not None and SPEC.loader is not None
build = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(build)


def test_there_are_five():
    assert [s.stem[:2] for s in build.sources()] == ["01", "02", "03", "04", "05"]


@pytest.mark.parametrize("source", build.sources(), ids=lambda s: s.stem)
def test_what_is_kept_comes_from_the_source(source):
    kept = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(kept)
    assert kept.metadata["one2345"] == {"source": source.name, "sha256": build.digest(source)}, (
        "make notebooks ARGS=--write renews it"
    )
    fresh = build.notebook(source)
    assert [(c.cell_type, c.source) for c in kept.cells] == [(c.cell_type, c.source) for c in fresh.cells]
    outputs = [o for c in kept.cells if c.cell_type == "code" for o in c.outputs]
    assert any("image/png" in o.get("data", {}) for o in outputs)
    assert not build.faults(kept) and all(o.output_type != "error" for o in outputs)
    assert source.with_suffix(".ipynb").stat().st_size < 600_000


def test_an_error_in_a_cell_is_one_of_the_run(tmp_path, capsys):
    source = tmp_path / "01_bad.py"
    source.write_text("# %% [markdown]\n# # Title\n\n# %%\nprint('shown')\n\n# %%\nraise ValueError('no')\n")
    book = build.notebook(source)
    assert [c.cell_type for c in book.cells] == ["markdown", "code", "code"]
    assert book.cells[0].source == "# Title"
    begin = time.monotonic()
    with pytest.raises(CellExecutionError, match=r"ValueError.*: no"):
        build.execute(book)
    assert book.cells[1].outputs[0].text == "shown\n" and time.monotonic() - begin < 120
