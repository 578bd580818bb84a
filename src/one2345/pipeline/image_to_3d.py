"""One picture to a mesh: view synthesis, elevation, reconstruction network, extraction, in one object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from one2345.array_cache import ArrayCache
from one2345.checkpoints import find_checkpoint, load_reconstructor, trained_pixels
from one2345.errors import InputError
from one2345.geometry import ViewPlan, load_plan, orbit_cameras
from one2345.hub import hub_folder, is_hub_name, sha256
from one2345.meshing import Extractor
from one2345.meshing.texture import Pictures, Texturer
from one2345.models import ReconstructionNetwork
from one2345.views import PosedViews
from one2345.views.elevation import ClassicalMatcher, ElevationEstimator
from one2345.views.preprocess import InputPicture, Segment, prepare_picture
from one2345.views.synthesis import ViewSynthesizer

from .elevation_stage import InputElevation, input_elevation
from .field_stage import FieldStage
from .mesh import ReconstructedMesh
from .stages import Progress, StageRecord, Stages, content_key
from .view_stage import ViewStage

DEFAULT_VIEWS = "kxic/zero123-xl"
RELEASE = "model.safetensors"


@dataclass(frozen=True)
class Weights:
    """The reconstruction network and where it came from. digest: SHA-256 of the file. pixels: see `FieldStage`."""

    model: ReconstructionNetwork
    file: Path
    digest: str
    pixels: int | None = None

    @staticmethod
    def load(path: str | Path = "pretrained") -> Weights:
        """`pretrained`, a run folder, a .ckpt or a .safetensors file, or `organisation/name` of the hub, whose
        repository holds a release as model.safetensors. Raises CheckpointError or WeightsUnavailable."""
        file = _fetched(str(path)) or find_checkpoint(path)
        model, record = load_reconstructor(file)
        return Weights(model, file, sha256(file), trained_pixels(record))


@dataclass(frozen=True)
class Reconstruction:
    """mesh: in the world frame, with texture where one was wanted. surface: as it was extracted, which is what scores
    are measured on: decimation and unwrapping change `mesh` alone. views: all that were made or given, with cameras;
    those of the roles `sources` were given to the network. picture: the input, or None for posed views. elevation: of
    the input camera, or None likewise. stages: what took how long. facts: plain values that decide the result.
    texture: facts of the texture, None where none was wanted. warnings: sentences."""

    mesh: ReconstructedMesh
    surface: ReconstructedMesh
    views: PosedViews
    stages: list[StageRecord]
    sources: tuple[str, ...]
    picture: InputPicture | None = None
    elevation: InputElevation | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    texture: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()


def _fetched(name: str) -> Path | None:
    """The release in a repository of the hub; None where `name` is a path, or none of a repository."""
    if Path(name).expanduser().exists() or not is_hub_name(name):
        return None
    folder = hub_folder(
        name, choose=lambda names: [RELEASE] if RELEASE in names else None, anchor=RELEASE, download=True,
        what="a reconstruction network", choices="`pretrained` names the weights that come with the package",
    )  # fmt: skip
    return folder / RELEASE


class ImageTo3D:
    """A picture of one object to a mesh (One-2-3-45, arXiv 2306.16928), without optimisation per object.

    weights: the reconstruction network. synthesizer: makes the views of `plan`. estimator: of the input camera's
    elevation. hull_tolerance: share of the views that may disagree with the silhouette hull that the network starts
    from; None: as the network has learned to weigh them. texture: makes the textured mesh of the surface; None leaves
    the surface, with vertex colours. segment, fill: see `views.preprocess.prepare_picture`. group: views that are asked
    for at once.

    The same picture and seed give the same mesh on the same device.
    """

    def __init__(
        self,
        *,
        weights: Weights,
        synthesizer: ViewSynthesizer | None,
        plan: ViewPlan | None = None,
        estimator: ElevationEstimator | None = None,
        extractor: Extractor | None = None,
        hull_tolerance: float | None = None,
        texture: Texturer | None = None,
        segment: Segment = "auto",
        fill: float = 0.75,
        download: bool = False,
        group: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.synthesizer = synthesizer
        self.plan = plan if plan is not None else load_plan("published")
        self.estimator = estimator or ElevationEstimator(matcher=ClassicalMatcher())
        if hull_tolerance is not None and not 0 <= hull_tolerance < 1:
            raise InputError(f"hull_tolerance={hull_tolerance}: a share of the views, from 0 to below 1")
        self.hull_tolerance = hull_tolerance
        self.segment: Segment = segment
        self.fill, self.download = fill, download
        self.group = group if group is not None else (32 if self.device.type == "cuda" else 8)
        self.weights = weights
        self.field = FieldStage(
            model=weights.model.to(self.device).eval(),
            digest=weights.digest,
            pixels=weights.pixels,
            extractor=extractor if extractor is not None else Extractor(),
            texturer=texture,
            device=self.device,
        )

    @classmethod
    def from_pretrained(
        cls,
        weights: str | Path = "pretrained",
        *,
        views: str | Path | ViewSynthesizer = DEFAULT_VIEWS,
        device: torch.device | str | None = None,
        **settings: Any,
    ) -> ImageTo3D:
        """weights: of the reconstruction network: `pretrained` (they come with the package), a run folder, a
        weights file, or `organisation/name` of the hub. views: Zero123 weights (a hub id, a folder or a
        checkpoint), or any synthesiser. device: default CUDA where there is one. settings: as the constructor's;
        the mesh is textured unless texture=None.

        Raises CheckpointError or InputError that names what is missing and the choices left.
        """
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if isinstance(views, str | Path):
            from one2345.views.zero123 import Zero123Synthesizer

            views = Zero123Synthesizer(weights=views, device=str(chosen))
        textured: dict[str, Any] = {"texture": Texturer()}
        return cls(
            weights=Weights.load(weights), synthesizer=views, device=chosen, **{**textured, **settings}
        )

    def __call__(
        self,
        image: Any = None,
        *,
        seed: int = 0,
        elevation: float | Literal["estimate"] | None = None,
        cache: Path | str | None = None,
        progress: Progress | None = None,
    ) -> Reconstruction:
        """The mesh of a picture: a path, a PIL image, an array, or an `InputPicture` that is ready; None where the
        synthesiser has it (a known object, saved views).

        elevation: of the camera in degrees, where it is known; see `elevation_stage.input_elevation`. cache: folder
        in which finished parts are kept, so that an interrupted run goes on where it was.
        """
        if self.synthesizer is None:
            raise InputError(
                "this pipeline was made without a synthesiser of views; it takes posed views only"
            )
        stages = self._stages(cache, progress)
        with stages.stage("input"):
            picture = image if isinstance(image, InputPicture) else self._picture(self.synthesizer, image)
        views_of = ViewStage(
            self.synthesizer, picture=picture.image, seed=seed, stages=stages, group=self.group
        )
        placed = input_elevation(
            elevation, synthesizer=self.synthesizer, estimator=self.estimator, views=views_of, stages=stages
        )
        views = views_of.make(self.plan, placed.degrees)
        sources = views[views.indices(*self.plan.sources)]
        seen = _shown(picture, placed, self.plan.radius)
        made = self.field.mesh(sources, stages, hull_tolerance=self.hull_tolerance, given=[seen])
        notes = [*picture.warnings, *([placed.warning] if placed.warning else []), *made.warnings]
        return Reconstruction(
            mesh=made.mesh, surface=made.surface, views=views, stages=stages.records,
            sources=tuple(self.plan.sources), picture=picture, elevation=placed, texture=made.texture,
            facts={**self._facts(), "seed": seed, "plan": self.plan.name, "views": views_of.decides,
                "consistent": self.synthesizer.consistent, "hull_tolerance": self.hull_tolerance},
            warnings=tuple(notes),
        )  # fmt: skip

    def from_views(
        self,
        views: PosedViews,
        *,
        cache: Path | str | None = None,
        progress: Progress | None = None,
        warnings: tuple[str, ...] = (),
    ) -> Reconstruction:
        """The mesh of posed pictures in the world frame; all of them are sources but views kept to compare with."""
        if sources := views.indices("stage1", "near"):
            views = views[sources]
        stages = self._stages(cache, progress)
        given = [Pictures(views.images, views.masks, views.cameras)]
        made = self.field.mesh(views, stages, hull_tolerance=self.hull_tolerance, given=given)
        return Reconstruction(
            mesh=made.mesh, surface=made.surface, views=views, stages=stages.records,
            sources=tuple(dict.fromkeys(views.roles)), facts=self._facts(), texture=made.texture,
            warnings=(*warnings, *made.warnings),
        )  # fmt: skip

    def _stages(self, cache: Path | str | None, progress: Progress | None) -> Stages:
        return Stages(
            cache=None if cache is None else ArrayCache(cache), device=self.device, progress=progress
        )

    def _picture(self, synthesizer: ViewSynthesizer, image: Any) -> InputPicture:
        if image is not None:
            return prepare_picture(
                image, segment=self.segment, size=synthesizer.size, fill=self.fill, download=self.download
            )
        own = synthesizer.picture()
        if own is None:
            raise InputError("no picture was given; image=FILE names one")
        return InputPicture(
            image=own.images[0], mask=own.masks[0], facts={"foreground": "synthesiser"}, warnings=(),
            sha256=content_key(own.images[0]),
        )  # fmt: skip

    def _facts(self) -> dict[str, Any]:
        return {
            "network": {"file": self.weights.file.name, "sha256": self.weights.digest},
            "pixels": self.weights.pixels,
            "extractor": repr(self.field.extractor),
            "texturer": None if self.field.texturer is None else repr(self.field.texturer),
            "device": str(self.device),
        }


def _shown(picture: InputPicture, placed: InputElevation, radius: float) -> Pictures:
    """The input picture, as fine as it is, and the camera that it is taken to come from."""
    image, mask = picture.image, picture.mask
    if picture.fine is not None:
        image, mask = picture.fine[:3], picture.fine[3]
    camera = orbit_cameras([0.0], [placed.degrees], radius=radius, size=image.shape[-1])
    return Pictures(image[None], mask[None], camera)
