"""What the page says, as HTML with everything foreign escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from pathlib import Path

from .chain import Shown
from .jobs import Failed, Step, ViewMade

STAGES = {
    "text": "Drawing the picture",
    "unpacking": "Unpacking the archive",
    "reading": "Reading cameras and pictures",
    "input": "Cutting out the object",
    "views": "Making views",
    "elevation": "Estimating the elevation of the camera",
    "network": "Reading the views in 3D",
    "mesh": "Finding the surface",
    "texture": "Painting the surface",
    "files": "Writing files",
}
SOURCES = {
    "given": "set by hand",
    "known": "known",
    "estimated": "estimated",
    "prior": "assumed: it could not be estimated",
}


def idle() -> str:
    """Before anything was asked for."""
    return _status("Nothing yet. What is made appears here.")


def starting() -> str:
    return _status("Starting …", bar=None)


def waiting() -> str:
    return _status("Waiting: others are being served first.", bar=None)


def stopping() -> str:
    return _status("Stopping …", bar=None)


def progress(step: Step) -> str:
    """How far a stage is."""
    words = STAGES.get(step.stage, step.stage.capitalize())
    if step.total > 1:
        return _status(f"{words}: {step.done} of {step.total}", bar=(step.done, step.total))
    return _status(f"{words} …", bar=None)


def caption(view: ViewMade) -> str:
    """Which view it is, by the degrees that its camera is off the input's."""
    turn = round(view.azimuth) % 360
    lift = round(view.elevation)
    side = {0: "front", 90: "right", 180: "back", 270: "left"}.get(turn, f"{turn}°")
    return f"{view.name} · {side}" + (f", {lift:+d}°".replace("-", "−") if lift else "")


def name_of(caption: str) -> str:
    """The name of the view that has `caption`."""
    return caption.split(" · ")[0]


def failed(event: Failed, private: Iterable[Path] = ()) -> str:
    """What went wrong, without the folders of this machine."""
    if event.cancelled:
        return _status("Cancelled. Nothing was kept of it.")
    return error(without_folders(event.message, private))


def error(sentence: str) -> str:
    sentence = sentence[:1].upper() + sentence[1:]
    if sentence[-1:] not in ".!?":
        sentence += "."
    return f'<div class="o-status o-error" role="alert">{escape(sentence)}</div>'


def without_folders(message: str, private: Iterable[Path]) -> str:
    """`message` with the paths below `private` folders cut to their last part."""
    for folder in private:
        message = re.sub(rf"{re.escape(str(folder))}(?:/[^/\s:;,()'\"]+)*/", "", message)
        message = message.replace(str(folder), "the upload")
    return message


def finished(shown: Shown, seconds: float) -> str:
    """What was made."""
    mesh = shown.found.mesh
    return _status(
        f"Done in {seconds:.0f} s: {len(mesh.faces):,} faces from {_sources(shown)} views.", done=True
    )


def facts(shown: Shown) -> str:
    """The elevation with how sure it is, and the warnings."""
    lines = []
    placed = shown.found.elevation
    if placed is not None:
        words = SOURCES[placed.source]
        lines.append(
            f"<dt>Elevation of the camera</dt><dd>{placed.degrees:.1f}° <span>{escape(words)}</span></dd>"
        )
        if placed.confidence is not None:
            share = round(100 * placed.confidence)
            lines.append(
                f'<dt>Confidence of the estimate</dt><dd><meter min="0" max="100" low="50" high="75" optimum="100" '
                f'value="{share}" aria-label="confidence of the estimate">{share} %</meter> {share} %</dd>'
            )
    if shown.seeds:
        anew = ", ".join(f"{n} (seed {s})" for n, s in sorted(shown.seeds.items()))
        lines.append(f"<dt>Made anew</dt><dd>{escape(anew)}</dd>")
    notes = "".join(f"<li>{escape(w[:1].upper() + w[1:])}</li>" for w in shown.found.warnings)
    listed = f'<ul class="o-notes" aria-label="notes">{notes}</ul>' if notes else ""
    return f'<div class="o-facts">{f"<dl>{chr(10).join(lines)}</dl>" if lines else ""}{listed}</div>'


def notice(title: str, sentence: str, ways: Iterable[str]) -> str:
    """A box at the top: what is not possible here, why, and what is."""
    items = "".join(f"<li>{way}</li>" for way in ways)
    return (
        f'<section class="o-notice" aria-label="{escape(title)}"><h2>{escape(title)}</h2>'
        f"<p>{escape(sentence)}</p><ul>{items}</ul></section>"
    )


def no_views(reason: str, *, examples: bool) -> str:
    """Views of uploaded pictures can't be made here, and what can. examples: whether some are offered."""
    ways = [
        "pictures with known cameras: the tab <em>Posed pictures</em>",
        "weights of a small training run: start the page with <code>views=zero123_mini views.weights=RUN</code>",
        "views that were made before: <code>views=replay views.root=RUN/views</code>",
    ]
    if examples:
        ways.insert(0, "the examples below: they are known objects, so that exact views of them can be drawn")
    return notice("Pictures of your own need weights that are not here", cause(reason), ways)


def cause(reason: str) -> str:
    """Why weights are missing: without the ways out that a command line has, and without folders of this machine."""
    told = reason.split("; other ways")[0].split("; the choices left")[0]
    told = re.sub(r"(local cache) [^,;]+", r"\1", told)
    return re.sub(r"(can't be fetched): .*", r"\1", told) + "."


def _sources(shown: Shown) -> int:
    return len(shown.found.views.indices(*shown.found.sources))


def _status(words: str, *, bar: tuple[int, int] | bool | None = False, done: bool = False) -> str:
    """bar: done and total, None: of unknown length, False: none."""
    drawn = ""
    if bar is None:
        drawn = f'<progress aria-label="{escape(words)}"></progress>'
    elif not isinstance(bar, bool):
        drawn = f'<progress max="{bar[1]}" value="{bar[0]}" aria-label="{escape(words)}"></progress>'
    kind = " o-done" if done else ""
    return f'<div class="o-status{kind}" role="status" aria-live="polite"><span>{escape(words)}</span>{drawn}</div>'
