"""The site builds without a warning, fetches nothing, and what lies outside docs/ is on it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def build(out: Path, *, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=cwd, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("site")
    done = build(out)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr[-3000:]
    return out


def test_nothing_is_fetched_when_the_site_is_read(site):
    loads = re.compile(
        r"<(?:script|img|iframe)[^>]*\ssrc=\"(https?:[^\"]*)|<link[^>]*stylesheet[^>]*href=\"(https?:[^\"]*)"
    )
    found = {m for page in site.rglob("*.html") for m in loads.findall(page.read_text(encoding="utf-8"))}
    assert not found


def test_readmes_and_recorded_results_are_pages(site):
    home = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="repository/data/index.html' in home
    for page in ("data", "slurm", "experiments/sdf_base", "conf/protocol"):
        text = (site / "repository" / page / "index.html").read_text(encoding="utf-8")
        assert 'href="../' in text
    assert "one2345-strict.yaml" in (site / "repository/conf/protocol/index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["geometry.Cameras.resized", "pipeline.ImageTo3D", "objects.MeshObject"])
def test_docstrings_are_the_reference(site, name):
    page = site / "reference" / f"{name.split('.')[0]}.html"
    assert f'id="one2345.{name}"' in page.read_text(encoding="utf-8")
