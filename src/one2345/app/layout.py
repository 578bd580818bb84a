"""What the page looks like: its tabs, and where results appear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import themes

from . import words

KINDS = (("glb", "GLB"), ("obj", "OBJ"), ("ply", "PLY"), ("report", "Report"), ("all", "Everything"))
UPS = [("As the file says", ""), *((f"{axis} is up", axis) for axis in ("z", "y", "x", "-z", "-y", "-x"))]
MOST_SEED = 2**31 - 1
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def as_uploaded(payload: Any) -> str | None:
    """In place of an image's own `preprocess`: its file as it came, which is checked before anything decodes it."""
    return None if payload is None else payload.path


@dataclass(frozen=True)
class PictureTab:
    """picture, seed, by (estimate or given), elevation in degrees, segment: what a mesh is made of. example: index of
    the one that was chosen, else None. exact: whether exact views of it are wanted."""

    picture: gr.Image
    example: gr.State
    exact: gr.Checkbox
    seed: gr.Number
    by: gr.Radio
    elevation: gr.Slider
    segment: gr.Radio
    make: gr.Button

    @property
    def inputs(self) -> list[Any]:
        return [getattr(self, field.name) for field in fields(self) if field.name != "make"]


@dataclass(frozen=True)
class PosedTab:
    """archive: a zip file. up: an axis, or nothing."""

    archive: gr.File
    up: gr.Dropdown
    make: gr.Button


@dataclass(frozen=True)
class TextTab:
    text: gr.Textbox
    seed: gr.Number
    make: gr.Button


@dataclass(frozen=True)
class Results:
    """Where what is made appears. anew: holds names, near and again, by which single views are made anew."""

    status: gr.HTML
    cancel: gr.Button
    mesh: gr.Model3D
    facts: gr.HTML
    views: gr.Gallery
    anew: gr.Group
    names: gr.Dropdown
    near: gr.Checkbox
    again: gr.Button
    cameras: gr.Image
    downloads: Mapping[str, gr.DownloadButton]

    @property
    def outputs(self) -> list[Any]:
        single = [getattr(self, field.name) for field in fields(self) if field.name != "downloads"]
        return [*single, *self.downloads.values()]


def theme() -> themes.Base:
    """Neutral greys and one colour; the system's own fonts, so that nothing is fetched."""
    return themes.Base(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="zinc",
        radius_size="md",
        spacing_size="md",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_600",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="*neutral_300",
    )


def picture_tab(*, own: Path | None, examples: list[Path], choice: bool) -> PictureTab:
    """own: the picture of the synthesiser itself, so that none is uploaded. choice: whether views of an example may be
    generated as well as exact."""
    with gr.Tab("Picture"):
        picture = gr.Image(
            value=None if own is None else str(own), type="filepath", image_mode=None, height=280,
            label="Picture of one object" if own is None else "The picture that the views belong to",
            sources=["upload", "clipboard"] if own is None else None, interactive=own is None, buttons=[],
            elem_id="picture",
        )  # fmt: skip
        picture.preprocess = as_uploaded  # type: ignore[method-assign]
        example = gr.State(None)
        exact = gr.Checkbox(
            False, label="Exact views of this example, not generated ones", visible=False, elem_id="exact"
        )
        if examples and own is None:
            listed = gr.Dataset(
                components=[picture], samples=[[str(p)] for p in examples], type="index", layout="gallery",
                label="Examples", samples_per_page=len(examples), elem_id="examples",
            )  # fmt: skip
            listed.click(
                lambda index: (str(examples[index]), index, gr.update(visible=choice)),
                listed, [picture, example, exact], **QUIET,
            )  # fmt: skip
            for event in (picture.upload, picture.clear):
                event(lambda: (None, gr.update(visible=False)), None, [example, exact], **QUIET)
        by = gr.Radio(
            [("Estimate it", "estimate"), ("Set it by hand", "given")], value="estimate",
            label="Elevation of the camera", elem_id="elevation-by",
        )  # fmt: skip
        elevation = gr.Slider(
            -45, 90, value=20, step=0.5, label="Degrees above the horizon", visible=False, elem_id="elevation"
        )
        by.change(lambda chosen: gr.update(visible=chosen == "given"), by, elevation, **QUIET)
        with gr.Accordion("More", open=False):
            seed = _seed("seed")
            segment = gr.Radio(
                [("Cut it away", "auto"), ("There is none", "none")], value="auto", label="Background",
                info="Where a picture is transparent, that counts.", elem_id="segment",
            )  # fmt: skip
        make = gr.Button("Make the mesh", variant="primary", elem_id="make")
    return PictureTab(picture, example, exact, seed, by, elevation, segment, make)


def posed_tab() -> PosedTab:
    with gr.Tab("Posed pictures"):
        gr.Markdown(
            "A zip file of pictures with known cameras: the `views` of an earlier run, NeRF's `transforms.json`, or "
            "a COLMAP text model with its pictures."
        )
        archive = gr.File(
            label="Zip file", file_types=[".zip"], type="filepath", height=150, elem_id="archive"
        )
        up = gr.Dropdown(UPS, value="", label="Which way is up", elem_id="up")
        make = gr.Button("Make the mesh", variant="primary", elem_id="make-posed")
    return PosedTab(archive, up, make)


def text_tab(no_text: str | None) -> TextTab:
    """no_text: why texts can't be drawn here, where they can't."""
    with gr.Tab("Text"):
        if no_text is not None:
            gr.HTML(words.notice("Texts can't be drawn here", words.cause(no_text), []))
        text = gr.Textbox(
            label="The object in words", placeholder="a wooden chair", lines=2, max_length=300, elem_id="text",
            interactive=no_text is None,
        )  # fmt: skip
        seed = _seed("text-seed")
        make = gr.Button("Make the mesh", variant="primary", elem_id="make-text", interactive=no_text is None)
    return TextTab(text, seed, make)


def results() -> Results:
    with gr.Row(equal_height=True, elem_classes="o-row"):
        status = gr.HTML(words.idle(), elem_id="status", scale=6, min_width=200)
        cancel = gr.Button("Cancel", elem_id="cancel", visible=False, scale=1, min_width=90)
    mesh = gr.Model3D(
        label="Mesh", height=420, clear_color=(0.0, 0.0, 0.0, 0.0), elem_id="mesh", interactive=False
    )
    with gr.Row(elem_classes="o-downloads"):
        downloads = {
            kind: gr.DownloadButton(label, size="sm", interactive=False, elem_id=f"download-{kind}")
            for kind, label in KINDS
        }
    facts = gr.HTML("", elem_id="facts")
    views = gr.Gallery(
        label="Views", columns=8, height="auto", object_fit="contain", allow_preview=False, interactive=False,
        buttons=[], elem_id="views",
    )  # fmt: skip
    with gr.Group(visible=False) as anew:
        names = gr.Dropdown(
            [], multiselect=True, label="Views to make anew", elem_id="names",
            info="Choose them here, or click on them above. The others are kept; the mesh is made of all.",
        )  # fmt: skip
        near = gr.Checkbox(False, label="Also the near views that were made from them", elem_id="near")
        again = gr.Button("Make them anew", elem_id="again")
    cameras = gr.Image(
        label="Where the cameras stand", visible=False, interactive=False, buttons=[], elem_id="cameras"
    )
    return Results(status, cancel, mesh, facts, views, anew, names, near, again, cameras, downloads)


def _seed(name: str) -> gr.Number:
    return gr.Number(0, label="Seed", precision=0, minimum=0, maximum=MOST_SEED, elem_id=name)
