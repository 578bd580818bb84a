"""Takes the pictures of the page for the documentation: python -m tests.app.screenshots [FOLDER]"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from tests.app import chromium
from tests.app.parts import make_chain

from one2345.app.examples import EXAMPLES
from one2345.app.sessions import Sessions
from one2345.geometry import load_plan
from one2345.meshing import Extractor
from one2345.pipeline import ImageTo3D, Weights

FOLDER = Path(__file__).parents[2] / "docs" / "images" / "app"
MOST_BYTES = 200_000
SCREENS: dict[str, dict[str, Any]] = {
    "desktop": {"width": 1280, "height": 900},
    "dark": {"width": 1280, "height": 900, "color_scheme": "dark"},
    "phone": {"width": 390, "height": 844, "device_scale_factor": 2, "is_mobile": True, "has_touch": True},
}


def take(folder: Path) -> list[Path]:
    """An example, made from exact views by the weights of the package, on every screen."""
    from dataclasses import replace

    from one2345.app.page import Page

    pipe = ImageTo3D(
        weights=Weights.load(), synthesizer=None, plan=load_plan("ring8"), extractor=Extractor(resolution=64)
    )
    reason = "kxic/zero123-xl (about 5 GB) is not in the hub's local cache, and can't be fetched"
    chain = replace(make_chain(no_views=reason), pipe=pipe)
    folder.mkdir(parents=True, exist_ok=True)
    taken = []
    with tempfile.TemporaryDirectory() as scratch:
        sessions = Sessions(idle_seconds=600, parent=Path(scratch))
        page = Page(
            chain=chain, sessions=sessions, examples=EXAMPLES, about="network sdf_base · views none · cpu"
        )
        url = page.launch(host="127.0.0.1", port=None, wait=False)
        with chromium.chromium() as browser:
            for name, screen in SCREENS.items():
                opened = chromium.open_page(browser, url, **screen)
                opened.set_default_timeout(10 * chromium.PATIENCE)
                opened.locator("#examples button").nth(1).click()
                opened.locator("#picture img").first.wait_for()
                opened.locator("#make").click()
                opened.locator("#status").filter(has_text="Done in").wait_for()
                chromium.wait_for_mesh(opened)
                opened.mouse.move(2, 2)
                opened.wait_for_timeout(1500)
                file = folder / f"{name}.png"
                opened.screenshot(path=file, full_page=True)
                _reduce(file)
                taken.append(file)
                opened.context.close()
        page.blocks.close(verbose=False)
        sessions.close()
    return taken


def _reduce(file: Path) -> None:
    """To a palette: the page has few colours, and the file becomes a third."""
    with Image.open(file) as image:
        small = image.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(file, optimize=True)


if __name__ == "__main__":
    for taken in take(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER):
        print(f"{taken}: {taken.stat().st_size / 1000:.0f} KB")
