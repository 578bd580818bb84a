"""The page as people use it, in Chromium: from the picture to the download, and everything that may go wrong."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image
from tests.app import chromium
from tests.app.parts import Tinted, draw_picture, make_chain
from tests.evaluation.meshes import chair

from one2345.app.limits import Limits
from one2345.app.sessions import Sessions
from one2345.meshing import write_mesh

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
pytest.importorskip("gradio", reason="gradio is not installed (the extra `demo`)")
pytest.importorskip("playwright", reason="playwright is not installed (the extra `dev`)")
if chromium.path() is None:
    pytest.skip("there is no chromium on this machine", allow_module_level=True)

RED, BLUE = (200, 40, 30), (30, 60, 200)
DONE = re.compile(r"Done in \d+ s: [\d,]+ faces from 8 views")


class Served:
    """A page that is served: its synthesiser, its visitors and its address."""

    def __init__(self, folder: Path) -> None:
        from one2345.app.page import Page

        self.synthesizer = Tinted()
        self.sessions = Sessions(idle_seconds=600, parent=folder)
        self.page = Page(chain=make_chain(self.synthesizer, limits=Limits()), sessions=self.sessions)
        self.url = self.page.launch(host="127.0.0.1", port=None, wait=False)

    def close(self) -> None:
        self.page.blocks.close(verbose=False)
        self.sessions.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    made = Served(tmp_path_factory.mktemp("served"))
    yield made
    made.close()
    assert not made.sessions.root.exists()


@pytest.fixture(scope="module")
def browser():
    with chromium.chromium() as found:
        yield found


@pytest.fixture
def page(browser, served):
    served.synthesizer.gate.set()
    served.synthesizer.asked.clear()
    opened = chromium.open_page(browser, served.url)
    yield opened
    served.synthesizer.gate.set()
    opened.context.close()


def upload(page: Any, file: Path) -> None:
    page.locator("#picture input[type=file]").first.set_input_files(file)
    page.locator("#picture button[aria-label='Remove Image'], #picture img").first.wait_for(state="attached")


def status(page: Any, wanted: str | re.Pattern[str]) -> str:
    """What the page says, once it says `wanted`."""
    found = page.locator("#status").filter(has_text=wanted)
    found.wait_for()
    return found.inner_text()


def download(page: Any, kind: str, folder: Path) -> Path:
    with page.expect_download() as started:
        page.locator(f"#download-{kind}").click()
    file = folder / started.value.suggested_filename
    started.value.save_as(file)
    return file


def mean_colour(file: Path) -> np.ndarray:
    """(3,) in [0, 1] of the vertices of a PLY file."""
    return np.asarray(trimesh.load(file, force="mesh").visual.vertex_colors)[:, :3].mean(0) / 255


def test_from_a_picture_to_a_mesh_and_its_files(page, tmp_path: Path) -> None:
    upload(page, draw_picture(tmp_path / "red.png", RED))
    page.locator("#make").click()
    page.locator("#cancel").wait_for()
    page.locator("#views img").first.wait_for()
    said = status(page, DONE)
    assert page.locator("#views img").count() == 8
    seen = chromium.wait_for_mesh(page)
    object_pixels = seen[np.ptp(seen.astype(int), axis=-1) > 40]
    assert len(object_pixels) > 0.01 * seen[..., 0].size
    assert object_pixels[:, 0].mean() > object_pixels[:, 2].mean() + 30, "the mesh is as red as the picture"
    assert "Elevation of the camera" in page.locator("#facts").inner_text()
    assert "Confidence" in page.locator("#facts").inner_text()
    glb = trimesh.load(download(page, "glb", tmp_path), force="mesh")
    assert f"{len(glb.faces):,} faces" in said and glb.area > 0.1
    assert len(trimesh.load(download(page, "ply", tmp_path), force="mesh").faces) == len(glb.faces)
    assert '"sha256"' in download(page, "report", tmp_path).read_text()
    assert not page.locator("#cancel").is_visible()


def test_a_file_that_is_no_picture(page, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("these are notes")
    upload(page, tmp_path / "notes.png")
    page.locator("#make").click()
    said = status(page, "not a readable picture")
    assert "notes.png" in said.lower() and "/" not in said.split("notes.png")[0]
    assert page.locator("#status [role=alert]").count() == 1
    assert page.locator("#make").is_enabled() and page.locator("#mesh canvas").count() == 0


def test_fifty_megapixels(page, served, tmp_path: Path) -> None:
    Image.new("L", (10000, 5000), 200).save(tmp_path / "poster.png")
    upload(page, tmp_path / "poster.png")
    page.locator("#make").click()
    assert "10000 x 5000 px are 50 megapixels; at most 40 are taken" in status(page, "megapixels")
    assert served.synthesizer.asked == []


def test_a_text_file(page, served, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("these are notes")
    page.locator("#picture input[type=file]").first.set_input_files(tmp_path / "notes.txt")
    page.wait_for_timeout(500)
    page.locator("#make").click()
    status(page, re.compile("there is no picture yet|not a readable picture", re.IGNORECASE))
    assert served.synthesizer.asked == []


def test_a_double_click_makes_one_mesh(page, served, tmp_path: Path) -> None:
    upload(page, draw_picture(tmp_path / "red.png", RED))
    page.locator("#make").dblclick()
    status(page, DONE)
    page.wait_for_timeout(500)
    named = [name for name, _ in served.synthesizer.asked]
    assert len(named) == 5 + 8 and named.count("s7") == 1, "the probe's views and the plan's, once"


def test_cancel_and_begin_again(page, served, tmp_path: Path) -> None:
    served.synthesizer.gate.clear()
    upload(page, draw_picture(tmp_path / "red.png", RED))
    page.locator("#make").click()
    page.locator("#views img").first.wait_for()
    assert page.locator("#make").is_disabled()
    page.locator("#cancel").click()
    served.synthesizer.gate.set()
    status(page, "Cancelled")
    assert len(served.synthesizer.asked) <= 2 and page.locator("#mesh canvas").count() == 0
    page.locator("#make").click()
    status(page, DONE)
    chromium.wait_for_mesh(page)


def test_two_visitors_at_once(browser, page, served, tmp_path: Path) -> None:
    other = chromium.open_page(browser, served.url)
    served.synthesizer.gate.clear()
    upload(page, draw_picture(tmp_path / "red.png", RED))
    upload(other, draw_picture(tmp_path / "blue.png", BLUE))
    page.locator("#make").click()
    page.locator("#views img").first.wait_for()
    other.locator("#make").click()
    status(other, "Waiting: others are being served first")
    served.synthesizer.gate.set()
    status(page, DONE)
    status(other, DONE)
    (tmp_path / "a").mkdir()
    red, blue = (
        mean_colour(download(page, "ply", tmp_path / "a")),
        mean_colour(download(other, "ply", tmp_path)),
    )
    assert red[0] > red[2] + 0.2 and blue[2] > blue[0] + 0.2
    before = len(served.sessions)
    folders = set(served.sessions.root.iterdir())
    other.context.close()
    for _ in range(60):
        if len(served.sessions) < before and set(served.sessions.root.iterdir()) < folders:
            break
        threading.Event().wait(0.5)
    assert len(served.sessions) == before - 1, "who left is forgotten, with their files"


def test_a_single_view_is_made_anew(page, served, tmp_path: Path) -> None:
    upload(page, draw_picture(tmp_path / "red.png", RED))
    page.locator("#make").click()
    status(page, DONE)
    served.synthesizer.asked.clear()
    page.locator("#views button.thumbnail-item").nth(2).click()
    page.locator("#names").get_by_text("s2", exact=True).wait_for()
    page.locator("#again").click()
    page.locator("#facts").filter(has_text="s2 (seed 1)").wait_for()
    assert served.synthesizer.asked == [("s2", 1)]
    chromium.wait_for_mesh(page)


def test_all_of_it_by_keyboard(page, tmp_path: Path) -> None:
    upload(page, draw_picture(tmp_path / "red.png", RED))
    page.locator("body").click(position={"x": 2, "y": 2})
    reached: list[str] = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                """() => { const e = document.activeElement;
                const near = e.closest('#picture,#elevation-by,#make,#views,#download-glb') || e;
                return near.id || e.tagName; }"""
            )
        )
        if reached[-1] == "make":
            break
    assert reached[-1] == "make"
    assert [r for r in dict.fromkeys(reached) if r in ("picture", "elevation-by", "make")] == [
        "picture", "elevation-by", "make",
    ]  # fmt: skip
    outline = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none", "where the focus is can be seen"
    page.keyboard.press("Enter")
    status(page, DONE)


def test_every_control_has_a_name(page) -> None:
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, textarea')].filter(e =>
        e.offsetParent !== null && e.type !== 'file' && !(e.getAttribute('aria-label') || e.title || e.innerText
        || e.getAttribute('aria-labelledby') || (e.labels && [...e.labels].some(l => l.innerText.trim()))))
        .map(e => e.outerHTML.slice(0, 200))"""
    )
    assert nameless == []


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_sticks_out_on_a_screen_of_any_width(browser, served, width: int) -> None:
    opened = chromium.open_page(browser, served.url, width=width, height=800)
    assert opened.evaluate("() => document.documentElement.scrollWidth") <= width
    opened.context.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_a_page_and_leaves_nothing(browser, tmp_path: Path, number: int) -> None:
    (tmp_path / "temporary").mkdir()
    write_mesh(chair(), tmp_path / "chair.glb")
    port = free_port()
    tiny = [
        "views.size=48",
        "plan=ring8",
        "extractor.resolution=32",
        "texture=none",
        "device=cpu",
        "examples=0",
    ]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "one2345.app", f"port={port}"),
            *("views=oracle", "views.object=chair.glb", "elevation=25", *tiny),
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path / "temporary"), "HF_HUB_CACHE": str(tmp_path)},
        # Tests that run in the background of a shell are deaf to it, and so would be what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        for _ in range(600):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.5)
        else:
            pytest.fail("the page was not served within minutes")
        opened = chromium.open_page(browser, f"http://127.0.0.1:{port}")
        assert opened.locator("#picture img").count() == 1, "the synthesiser's own picture"
        opened.locator("#make").click()
        status(opened, DONE)
        assert len(list((tmp_path / "temporary").glob("one2345-app.*"))) == 1
    finally:
        process.send_signal(number)
        try:
            said, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert list((tmp_path / "temporary").glob("one2345-app.*")) == []
