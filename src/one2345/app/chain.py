"""What the page can have made on this machine: meshes of pictures, texts and posed views, and single views anew."""

from __future__ import annotations

import copy
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from one2345.errors import InputError
from one2345.files import write_atomic
from one2345.pipeline import ImageTo3D, Reconstruction
from one2345.views.images import encode_png, straight_rgba
from one2345.views.layouts import draw_cameras, read_posed
from one2345.views.synthesis import Oracle, Replay, ViewRequest, ViewSynthesizer

from .archive import unpack
from .examples import Example
from .jobs import Job, Slots, ViewMade
from .limits import Limits
from .sessions import Session
from .watched import Rgba, WatchedExtractor, WatchedViews

Write = Callable[[Reconstruction, Path, str, Any], Mapping[str, Path]]
"""Writes a reconstruction to a folder: (what, folder, its name, what it was drawn from); the paths by what they are."""

DOWNLOADS = ("glb", "obj", "ply")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A finished result. files: to download, by their kinds (glb, obj, ply, report, all). synthesizer: that made its
    views, None where they were given. seeds: of the views that were made anew, by name. cameras: a drawing of where
    they stand, of posed views. source: what the picture was drawn from, if anything."""

    found: Reconstruction
    files: Mapping[str, Path]
    synthesizer: ViewSynthesizer | None = None
    seed: int = 0
    seeds: Mapping[str, int] = field(default_factory=dict)
    cameras: Path | None = None
    source: Any = None

    @property
    def remakable(self) -> bool:
        """Whether another seed makes another view."""
        return self.synthesizer is not None and not isinstance(self.synthesizer, Oracle | Replay)

    def rgba(self) -> dict[str, Rgba]:
        """Straight RGBA (h, w, 4) of all views, by name."""
        views = self.found.views
        return dict(zip(views.names, straight_rgba(views.images, views.masks), strict=True))


@dataclass(frozen=True, kw_only=True)
class Chain:
    """pipe: the pipeline without a synthesiser, which each piece of work gets for itself. write: see `Write`.
    synthesizer, painter: what makes views of a picture, and a picture of a text; None where `no_views`, `no_text`
    say why there are none. group: views that are asked for, and so appear, at once.
    """

    pipe: ImageTo3D
    write: Write
    limits: Limits
    synthesizer: ViewSynthesizer | None = None
    no_views: str | None = None
    painter: Any = None
    no_text: str | None = None
    group: int = 1
    slots: Slots = field(default_factory=Slots, repr=False)

    def own_picture(self) -> Rgba | None:
        """The picture (h, w, 4) that the synthesiser has itself, so that none is uploaded."""
        own = None if self.synthesizer is None else self.synthesizer.picture()
        return None if own is None else straight_rgba(own.images, own.masks)[0]

    def start(self, session: Session, work: Callable[[Job], Shown]) -> Job:
        """Run `work` for a visitor, in its turn; what it returns is what they see from then on."""

        def remembered(job: Job) -> Shown:
            session.shown = shown = work(job)
            return shown

        job = Job(remembered, seconds=self.limits.seconds, slots=self.slots)
        session.begin(job)
        return job

    def picture(
        self,
        job: Job,
        session: Session,
        file: Path | None,
        *,
        seed: int,
        elevation: float | None = None,
        segment: str = "auto",
        example: Example | None = None,
        source: Any = None,
    ) -> Shown:
        """A mesh of a picture; of an example by exact views of it. elevation: degrees, None: known or estimated.

        Raises InputError for a picture that can't be used, and where nothing here makes views.
        """
        synthesizer = self.synthesizer if example is None else example.oracle()
        if synthesizer is None:
            raise InputError(f"views of a picture can't be made here: {self.no_views}")
        if example is not None or self.own_picture() is not None:
            file = None
        elif file is None:
            raise InputError("there is no picture yet; drop one on the page, or choose an example")
        else:
            self.limits.check_picture(file)
        pipe = self._pipe(job, synthesizer, segment=segment)
        found = pipe(file, seed=seed, elevation=elevation, progress=job.progress)
        name = "picture" if example is None else example.name
        return self._shown(
            job,
            session,
            found,
            name,
            Shown(found=found, files={}, synthesizer=synthesizer, seed=seed, source=source),
        )

    def text(
        self, job: Job, session: Session, text: str, *, seed: int, elevation: float | None = None
    ) -> Shown:
        """A mesh of a text, by way of a picture."""
        if self.painter is None or self.no_text is not None:
            raise InputError(f"pictures of texts can't be made here: {self.no_text}")
        job.progress("text", 0, 1)
        data = self.painter(text, seed=seed)
        job.progress("text", 1, 1)
        with session.scratch() as folder:
            file = folder / "text.png"
            write_atomic(file, data)
            source = {"text": text, "seed": seed, **self.painter.describe()}
            return self.picture(job, session, file, seed=seed, elevation=elevation, source=source)

    def posed(self, job: Job, session: Session, archive: Path | None, *, up: str | None = None) -> Shown:
        """A mesh of an archive of posed views. up: see `read_posed`."""
        if archive is None:
            raise InputError("there is no archive yet; choose a zip file of posed views")
        with session.scratch() as folder:
            job.progress("unpacking", 0, 1)
            root = unpack(archive, folder / "posed", limits=self.limits)
            job.progress("unpacking", 1, 1)
            job.progress("reading", 0, 1)
            posed = read_posed(root, up=up)
            job.progress("reading", 1, 1)
            found = self._pipe(job, None).from_views(
                posed.views, progress=job.progress, warnings=(posed.normalisation.words, *posed.warnings)
            )
            drawing = draw_cameras(posed.views)
            return self._shown(job, session, found, "posed", Shown(found=found, files={}), drawing)

    def anew(self, job: Job, session: Session, names: Sequence[str], *, with_near: bool = False) -> Shown:
        """What is shown with the views `names` made anew by other seeds, and the mesh made anew of all views.

        with_near: whether the near views that were made from them are too. Raises InputError where nothing is shown,
        or nothing of it can be made anew.
        """
        before: Shown | None = session.shown
        if before is None or before.synthesizer is None or not before.remakable:
            raise InputError("there are no generated views here that could be made anew")
        views = before.found.views
        unknown = [n for n in names if n not in views.names]
        if unknown or not names:
            raise InputError(
                f"there is no view {unknown[0]!r}" if unknown else "choose the views to make anew"
            )
        chosen = {views.names.index(n) for n in names}
        if with_near:
            chosen |= {i for i, parent in enumerate(views.parents) if parent in chosen}
        remade = {views.names[i] for i in sorted(chosen)}
        fresh = 1 + max([before.seed, *before.seeds.values()])
        seeds = {**before.seeds, **dict.fromkeys(remade, fresh)}
        kept = {name: rgba for name, rgba in before.rgba().items() if name not in remade}
        pipe = self._pipe(job, before.synthesizer, kept=kept, anew=seeds)
        assert before.found.elevation is not None
        found = pipe(
            before.found.picture,
            seed=before.seed,
            elevation=before.found.elevation.degrees,
            progress=job.progress,
        )
        told = before.found.elevation.warning
        found = replace(
            found,
            elevation=before.found.elevation,
            facts={**found.facts, "views made anew": dict(sorted(seeds.items()))},
            warnings=(*found.warnings, *([told] if told else [])),
        )
        return self._shown(job, session, found, "picture", replace(before, found=found, seeds=seeds))

    def _pipe(
        self,
        job: Job,
        synthesizer: ViewSynthesizer | None,
        *,
        segment: str | None = None,
        kept: Mapping[str, Rgba] | None = None,
        anew: Mapping[str, int] | None = None,
    ) -> ImageTo3D:
        """The pipeline for one piece of work: it tells `job` of each picture, and stops when that is to end."""

        def show(request: ViewRequest, rgba: Rgba) -> None:
            azimuth = request.parent_azimuth + request.azimuth
            elevation = request.parent_elevation + request.elevation
            job.tell(ViewMade(request.name, azimuth % 360, elevation, rgba))

        pipe = copy.copy(self.pipe)
        pipe.group = self.group
        if segment is not None:
            pipe.segment = segment  # type: ignore[assignment]
        if synthesizer is not None:
            pipe.synthesizer = WatchedViews(
                inner=synthesizer, show=show, check=job.check, kept=kept or {}, anew=anew or {}
            )
        watched: Any = WatchedExtractor(inner=pipe.field.extractor, check=job.check)
        pipe.field = replace(pipe.field, extractor=watched)
        return pipe

    def _shown(
        self,
        job: Job,
        session: Session,
        found: Reconstruction,
        name: str,
        shown: Shown,
        cameras: Image.Image | None = None,
    ) -> Shown:
        """`shown` with the files of the result, written. cameras: a drawing of them."""
        job.progress("files", 0, 1)
        with session.result() as folder:
            paths = self.write(found, folder, name, shown.source)
            if cameras is not None:
                cameras.save(folder / "cameras.png")
                shown = replace(shown, cameras=folder / "cameras.png")
            files = {kind: paths[f"mesh.{kind}"] for kind in DOWNLOADS}
            beside = [f for f in folder.glob("mesh.*") if f.suffix[1:] not in DOWNLOADS]
            if beside:  # the material and the texture that the OBJ names
                files["obj"] = pack(folder / "mesh-obj.zip", folder, [files["obj"], *beside])
            files["report"] = paths["report"]
            everything = [f for f in sorted(folder.rglob("*")) if f.is_file() and f.suffix != ".zip"]
            files["all"] = pack(folder / "one2345.zip", folder, everything)
        job.progress("files", 1, 1)
        return replace(shown, files=files)


def pack(archive: Path, folder: Path, files: Sequence[Path]) -> Path:
    """A zip file of files below `folder`."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in files:
            packed.write(file, file.relative_to(folder).as_posix())
    return archive


def default_group(device: torch.device) -> int:
    """Views at once: one by one where that costs nothing, some where a GPU makes several as fast as one."""
    return 8 if device.type == "cuda" else 1


def thumbnail(rgba: Rgba) -> bytes:
    """A PNG on white of straight RGBA (h, w, 4)."""
    alpha = rgba[..., 3:].astype("float32") / 255
    return encode_png((rgba[..., :3] * alpha + 255 * (1 - alpha)).round().astype("uint8"))
