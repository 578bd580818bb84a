"""A page in the browser: drop a picture, see the views arrive, look at the mesh, download it.

Views come from what `views=` names, as in reconstruct.py. Where its weights are out of reach the page says so, and
offers what is left: examples, posed pictures, views that were made before. All groups and keys of reconstruct.py
apply, but for image, posed, text and out. Needs `pip install 'one2345[demo]'`.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from one2345 import signals
from one2345.build import build
from one2345.cli import app, reconstruct
from one2345.cli.checks import existing_path
from one2345.cli.devices import check_device
from one2345.errors import CheckpointError, InputError

COMMAND = app.Command("app", "one2345.app.command", folder=False, scaled=False)
ASKED_FOR_ON_THE_PAGE = ("image", "posed", "text", "out")


def run(argv: list[str] | None = None) -> None:
    """`python -m one2345.app ...`."""
    app.run(COMMAND, argv)


def check(config: Mapping[str, Any]) -> None:
    """Refuse what cannot work before anything heavy is imported."""
    need("gradio")
    for key in ASKED_FOR_ON_THE_PAGE:
        if config[key] is not None:
            raise InputError(f"{key}= is for reconstruct.py; here the page asks for it")
    if missing := sorted({"glb", "obj", "ply"} - set(config["formats"])):
        raise InputError(f"formats={config['formats']}: the page offers {missing[0]} too; leave it as it is")
    if not (isinstance(config["port"], int) and 1 <= config["port"] <= 65535):
        raise InputError(f"port={config['port']}: a number from 1 to 65535")
    if not (isinstance(config["examples"], int) and config["examples"] >= 0):
        raise InputError(f"examples={config['examples']}: how many, from 0 on")
    if config["ckpt"] != "pretrained":
        existing_path("ckpt", config["ckpt"])
    check_device(config["device"])


def need(package: str) -> None:
    """InputError where a package of the extra `demo` is missing."""
    if importlib.util.find_spec(package) is None:
        raise InputError(f"the package {package} is not installed: pip install 'one2345[demo]'")


def main(config: Mapping[str, Any]) -> None:
    """Serve the page until it is interrupted."""
    page, sessions = make_page(config)
    over = threading.Event()
    threading.Thread(target=_sweep, args=(sessions, over), daemon=True).start()
    before = signals.install(_interrupt)
    try:
        page.launch(host=config["host"], port=config["port"], browser=config["open"])
    except OSError as error:
        raise InputError(f"port={config['port']}: {error}; port=NUMBER takes another one") from error
    finally:
        signals.restore(before)
        over.set()
        sessions.close()


def make_page(config: Mapping[str, Any]) -> tuple[Any, Any]:
    """The `Page` that `config` describes, not served yet, and its `Sessions`, which the caller closes."""
    from one2345.app.chain import Chain, default_group
    from one2345.app.examples import EXAMPLES
    from one2345.app.jobs import Slots
    from one2345.app.page import Page
    from one2345.app.sessions import Sessions

    limits = build(config["limits"], allow_any=True)
    print("loading the networks", flush=True)
    synthesizer, no_views = reachable(config["views"])
    painter, no_text = reachable(config["text_to_image"])
    pipe = reconstruct.pipeline(config, None)
    chain = Chain(
        pipe=pipe,
        write=lambda found, out, name, source: reconstruct.write(config, found, out, name, source),
        limits=limits,
        synthesizer=synthesizer,
        no_views=no_views,
        painter=painter,
        no_text=no_text if no_text or synthesizer is not None else "nothing here makes views of pictures",
        group=config["group"] or default_group(pipe.device),
        slots=Slots(at_once=limits.at_once, waiting=limits.waiting),
    )
    sessions = Sessions(idle_seconds=60 * limits.idle_minutes)
    try:
        views = config["run"]["choices"].get("views", "") if synthesizer is not None else "none"
        about = f"network {Path(pipe.weights.file).stem} · views {views} · {pipe.device}"
        return Page(
            chain=chain, sessions=sessions, examples=EXAMPLES[: config["examples"]], about=about
        ), sessions
    except BaseException:
        sessions.close()
        raise


def reachable(node: Mapping[str, Any]) -> tuple[Any, str | None]:
    """What a node describes, its weights fetched; or None, and why they are out of reach.

    Raises InputError for any other thing that is wrong with it.
    """
    from one2345.hub import WeightsUnavailable

    try:
        reconstruct.check_weights(node)
        made = build(node, allow_any=True)
        made.describe()  # which fetches what is missing: not when the first visitor waits
    except (WeightsUnavailable, CheckpointError) as error:
        return None, str(error)
    return made, None


def _interrupt(*_: Any) -> None:
    """A request to stop ends the server as Ctrl-C does, which removes what visitors left."""
    raise KeyboardInterrupt


def _sweep(sessions: Any, over: threading.Event) -> None:
    while not over.wait(60):
        sessions.sweep()
