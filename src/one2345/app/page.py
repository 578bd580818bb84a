"""The page, and what a visitor's clicks set in motion."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from one2345.errors import InputError, One2345Error
from one2345.files import write_atomic

from . import layout, words
from .chain import Chain, Shown, thumbnail
from .examples import Example
from .jobs import Event, Failed, Finished, Job, Step, ViewMade, Waiting
from .layout import QUIET
from .limits import MEGA
from .sessions import Session, Sessions

STYLE = Path(__file__).with_name("style.css")
TICK = 0.25
"""Seconds of what happens that reach the browser together."""

Update = dict[Any, Any]
Start = Callable[..., Job]
"""From a session and the values of some inputs to the work that makes a mesh of them."""


class Page:
    """chain: what can be made. sessions: the visitors. examples: that are offered. about: this machine and its
    weights in a line, for the head of the page."""

    def __init__(
        self, *, chain: Chain, sessions: Sessions, examples: Sequence[Example] = (), about: str = ""
    ) -> None:
        self.chain, self.sessions, self.examples = chain, sessions, examples
        # Before any component is made: what is uploaded then lies in the folder that is removed at the end.
        os.environ["GRADIO_TEMP_DIR"] = str(sessions.root / "uploads")
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        age = int(60 * chain.limits.idle_minutes)
        with gr.Blocks(title="one2345", analytics_enabled=False, delete_cache=(600, age)) as self.blocks:
            gr.HTML(
                '<header class="o-head"><h1>one2345</h1><p>One picture of an object to a 3D mesh</p>'
                f'<p class="o-what">{escape(about)}</p></header>'
            )
            if chain.no_views is not None:
                gr.HTML(words.no_views(chain.no_views, examples=bool(examples)))
            with gr.Row(equal_height=False):
                with gr.Column(scale=4, min_width=310), gr.Tabs():
                    self._tabs(sessions.root / "page")
                with gr.Column(scale=7, min_width=310):
                    self.shown = layout.results()
            self._connect()

    def launch(self, *, host: str, port: int | None, browser: bool = False, wait: bool = True) -> str:
        """Serve the page; its address. port: None takes one that is free. wait: until it is interrupted."""
        limits = self.chain.limits
        # The queue is that of the chain, which can be left; Gradio's has a thread for each who waits there.
        self.blocks.queue(default_concurrency_limit=None)
        _, address, _ = self.blocks.launch(
            server_name=host, server_port=port, inbrowser=browser, prevent_thread_lock=not wait, quiet=not wait,
            max_threads=20 + 2 * (limits.waiting + limits.at_once), max_file_size=int(limits.upload_mb * MEGA),
            footer_links=[], theme=layout.theme(), css_paths=STYLE, ssr_mode=False, share=False,
        )  # fmt: skip
        return address

    def _tabs(self, folder: Path) -> None:
        own = self.chain.own_picture()
        file = None
        if own is not None:
            file = folder / "own.png"
            write_atomic(file, thumbnail(own))
        drawn = [example.draw(folder) for example in self.examples]
        self.picture = layout.picture_tab(own=file, examples=drawn, choice=self.chain.synthesizer is not None)
        self.posed = layout.posed_tab()
        self.text = layout.text_tab(self.chain.no_text)

    def _connect(self) -> None:
        shown = self.shown
        self.buttons = [self.picture.make, self.posed.make, self.text.make, shown.again]
        # The mesh comes by an event of its own. A generator's last value reaches the browser twice, and the second
        # time makes Gradio's viewer, which is still loading then, give up (6.31).
        self.outputs = list({*shown.outputs, *self.buttons, self.picture.elevation} - {shown.mesh})
        for button, start, inputs in (
            (self.picture.make, self._make_picture, self.picture.inputs),
            (self.posed.make, self._make_posed, [self.posed.archive, self.posed.up]),
            (self.text.make, self._make_text, [self.text.text, self.text.seed]),
            (shown.again, self._make_anew, [shown.names, shown.near]),
        ):
            button.click(lambda: None, None, [shown.mesh], queue=False, **QUIET)
            ran = button.click(self._runner(start), inputs, self.outputs, trigger_mode="once", **QUIET)
            ran.then(self._mesh, None, [shown.mesh], **QUIET)
        shown.cancel.click(self._cancel, None, [shown.status], queue=False, **QUIET)
        shown.views.select(self._choose, [shown.names], [shown.names], **QUIET)
        self.blocks.unload(self._left)

    # ---- what is asked for

    def _make_picture(
        self, session: Session, file: str | None, example: int | None, exact: bool, seed: Any, by: str,
        degrees: float, segment: str,
    ) -> Job:  # fmt: skip
        chosen = None
        if example is not None and (exact or self.chain.synthesizer is None):
            chosen = self.examples[example]
        picture, number = None if file is None else Path(file), _whole(seed)
        elevation = float(degrees) if by == "given" else None
        return self.chain.start(
            session,
            lambda job: self.chain.picture(
                job, session, picture, seed=number, elevation=elevation, segment=segment, example=chosen
            ),
        )

    def _make_posed(self, session: Session, archive: str | None, up: str) -> Job:
        file = None if archive is None else Path(archive)
        return self.chain.start(session, lambda job: self.chain.posed(job, session, file, up=up or None))

    def _make_text(self, session: Session, text: str, seed: Any) -> Job:
        number = _whole(seed)
        return self.chain.start(session, lambda job: self.chain.text(job, session, text, seed=number))

    def _make_anew(self, session: Session, names: list[str], near: bool) -> Job:
        return self.chain.start(session, lambda job: self.chain.anew(job, session, names, with_near=near))

    def _cancel(self, request: gr.Request) -> Any:
        return words.stopping() if self._session(request).cancel() else gr.update()

    def _choose(self, request: gr.Request, names: list[str], event: gr.SelectData) -> list[str]:
        """Add a view that was clicked to those that are made anew, or take it from them."""
        name = words.name_of(event.value["caption"])
        shown: Shown | None = self._session(request).shown
        if shown is None or name not in shown.found.views.names:
            return names
        return [n for n in names if n != name] if name in names else [*names, name]

    def _mesh(self, request: gr.Request) -> str | None:
        shown: Shown | None = self._session(request).shown
        return None if shown is None else str(shown.files["glb"])

    def _left(self, request: gr.Request) -> None:
        self.sessions.end(str(request.session_hash))

    def _session(self, request: gr.Request) -> Session:
        return self.sessions.of(str(request.session_hash))

    # ---- what is shown

    def _runner(self, start: Start) -> Callable[..., Iterator[Update]]:
        def run(request: gr.Request, *given: Any) -> Iterator[Update]:
            session = self._session(request)
            try:
                job = start(session, *given)
            except One2345Error as error:
                yield {self.shown.status: self._failed(Failed(str(error)))}
                return
            yield self._begun(anew=start == self._make_anew)
            pictures: dict[str, tuple[str, str]] = {}
            for batch in job.batches(TICK):
                yield self._update(session, job, batch, pictures)
            self._session(request)  # the time that it took is no idle time

        return run

    def _begun(self, *, anew: bool) -> Update:
        shown = self.shown
        cleared: Update = {} if anew else {shown.views: [], shown.cameras: gr.update(visible=False)}
        return {
            **cleared,
            shown.status: words.starting(),
            shown.cancel: gr.update(visible=True),
            shown.facts: "",
            shown.anew: gr.update(visible=False),
            **{button: gr.update(interactive=False) for button in [*self.buttons, *shown.downloads.values()]},
        }

    def _update(
        self, session: Session, job: Job, batch: list[Event], pictures: dict[str, tuple[str, str]]
    ) -> Update:
        update: Update = {}
        for event in batch:
            match event:
                case Waiting():
                    update[self.shown.status] = words.waiting()
                case Step():
                    update[self.shown.status] = words.progress(event)
                case ViewMade():
                    file = session.folder / f"view-{event.name}.png"
                    write_atomic(file, thumbnail(event.rgba))
                    pictures[event.name] = (str(file), words.caption(event))
                    update[self.shown.views] = list(pictures.values())
                case Finished():
                    update |= self._finished(event.result, job.seconds, pictures, session)
                case Failed():
                    before = session.shown
                    update |= self._free() if before is None else self._finished(before, 0.0, {}, session)
                    update[self.shown.status] = self._failed(event)
        return update

    def _finished(
        self, result: Shown, seconds: float, pictures: dict[str, tuple[str, str]], session: Session
    ) -> Update:
        shown, found = self.shown, result.found
        listed = []
        for name, rgba in result.rgba().items():
            if name not in pictures:
                file = session.folder / f"view-{name}.png"
                write_atomic(file, thumbnail(rgba))
                pictures[name] = (str(file), name)
            listed.append(pictures[name])
        placed = found.elevation
        return {
            **self._free(),
            shown.status: words.finished(result, seconds),
            shown.facts: words.facts(result),
            shown.views: listed,
            shown.anew: gr.update(visible=result.remakable),
            shown.names: gr.update(choices=list(found.views.names), value=[]),
            shown.cameras: gr.update(
                visible=result.cameras is not None, value=result.cameras and str(result.cameras)
            ),
            **{
                button: gr.update(interactive=True, value=str(result.files[kind]))
                for kind, button in shown.downloads.items()
            },
            **({} if placed is None else {self.picture.elevation: gr.update(value=round(placed.degrees, 1))}),
        }

    def _free(self) -> Update:
        """The buttons, after something ended."""
        usable: Update = {button: gr.update(interactive=True) for button in self.buttons}
        usable[self.text.make] = gr.update(interactive=self.chain.no_text is None)
        return {**usable, self.shown.cancel: gr.update(visible=False)}

    def _failed(self, event: Failed) -> str:
        return words.failed(event, [self.sessions.root])


def _whole(seed: Any) -> int:
    """Raises InputError for what is no seed: an empty or another field."""
    if not isinstance(seed, int | float) or not 0 <= seed <= layout.MOST_SEED or seed != int(seed):
        raise InputError(f"the seed must be a whole number from 0 to {layout.MOST_SEED}")
    return int(seed)
