"""The installed Chromium, driven by Playwright."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# WebGL without a GPU; the sandbox needs rights that containers don't give.
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PATIENCE = 90_000
"""Milliseconds that a step may take on a busy machine."""


def path() -> str | None:
    """Where Chromium is, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path(), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def open_page(browser: Any, url: str, *, width: int = 1280, height: int = 900, **context: Any) -> Any:
    """A page of a visitor of its own (cookies, session), ready to be used."""
    page = browser.new_context(viewport={"width": width, "height": height}, **context).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    page.locator("#make").wait_for()
    return page


def pixels(locator: Any) -> NDArray[np.uint8]:
    """(h, w, 3) of what is seen there."""
    with Image.open(io.BytesIO(locator.screenshot())) as image:
        return np.asarray(image.convert("RGB"))


def wait_for_mesh(page: Any) -> NDArray[np.uint8]:
    """The pixels of the 3D viewer, once something is drawn there."""
    canvas = page.locator("#mesh canvas")
    canvas.wait_for()
    for _ in range(60):
        seen = pixels(canvas)
        if float((seen.reshape(-1, 3).std(0)).max()) > 8:
            return seen
        page.wait_for_timeout(500)
    raise AssertionError("the viewer stayed blank")
