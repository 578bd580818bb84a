"""What evaluation measures: networks, folders of meshes, and the baselines beside them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from one2345.cli.objects import Objects
from one2345.cli.provenance import objects_hash
from one2345.cli.run_folder import global_rank
from one2345.data.datamodule import ReconstructionDataModule
from one2345.data.sources import FolderSource, open_meshes
from one2345.errors import InputError
from one2345.evaluation import (
    Case,
    EvaluationProtocol,
    LoadedAppearance,
    Prediction,
    Predictor,
    Summary,
    bounding_sphere,
    by_azimuth,
    evaluate,
    visual_hulls,
)
from one2345.geometry import Cameras
from one2345.meshing import Extractor
from one2345.models import ReconstructionNetwork
from one2345.pipeline import field_mesh
from one2345.rendering import RenderSettings, render_views
from one2345.terminal import Bars
from one2345.views import PosedViews

Inputs = Callable[[Case], PosedViews]
Methods = tuple[dict[str, Predictor], dict[str, tuple[str, ...]]]
"""Predictors by name, and the groups of those that stand for one baseline."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """Predictor: the mesh that `model` makes of the views that `inputs` gives for an object.

    render: also the field's own renders at the target cameras (psnr_field, ssim_field); None leaves them out.
    """

    model: ReconstructionNetwork
    inputs: Inputs
    extractor: Extractor
    device: torch.device
    render: RenderSettings | None = None

    @torch.no_grad()
    def __call__(self, case: Case) -> Prediction:
        views = self.inputs(case).to(self.device)
        field = self.model(
            views.images[None],
            views.masks[None],
            Cameras.stack([views.cameras]),
            reference=Cameras.stack([views.reference_camera]),
        )
        mesh = field_mesh(field, self.extractor, device=self.device)
        images = None
        record = case.views()
        if self.render is not None and (targets := record.indices("target")):
            cameras = record.cameras[targets]
            cameras = cameras[by_azimuth(cameras)].to(self.device)
            inv_s = float(self.model.variance())
            images = render_views(field, cameras, inv_s=inv_s, settings=self.render).rgb.cpu()
        return Prediction(mesh=mesh, images=images, inputs=views.images.cpu(), note=f"{len(views)} views")


@dataclass(frozen=True)
class MeshFolder:
    """Predictor: the mesh of a folder that has the object's id. frame: see `Prediction`."""

    source: FolderSource
    frame: float | str | None

    def __call__(self, case: Case) -> Prediction:
        if case.id not in self.source.ids():
            raise InputError(f"{self.source.root} has no mesh of {case.id}")
        return Prediction(mesh=self.source.mesh(case.id), frame=self.frame, seconds=0.0, keep=False)


def networks(
    models: Mapping[str, ReconstructionNetwork],
    data: Mapping[str, ReconstructionDataModule],
    *,
    extractor: Extractor,
    device: torch.device,
    render: RenderSettings | None = None,
) -> Methods:
    """Every model with every kind of input in `data` (name → module)."""
    return {
        f"{name}{_suffix(kind, data)}": Network(
            model=model.to(device).eval(),
            inputs=_inputs(module),
            extractor=extractor,
            device=device,
            render=render,
        )
        for kind, module in data.items()
        for name, model in models.items()
    }, {}


def baselines(data: Mapping[str, ReconstructionDataModule], settings: Mapping[str, Any]) -> Methods:
    """The visual hull of every kind of input, and the bounding sphere, as far as `settings` want them."""
    predictors: dict[str, Predictor] = {}
    groups: dict[str, tuple[str, ...]] = {}
    if settings.get("hull", True):
        for kind, module in data.items():
            members, group = visual_hulls(inputs=_inputs(module), name=f"visual hull{_suffix(kind, data)}")
            predictors |= members
            groups |= group
    if settings.get("sphere", True):
        predictors["bounding sphere"] = bounding_sphere
        groups["bounding sphere"] = ("bounding sphere",)
    return predictors, groups


def mesh_folders(
    folders: Mapping[str, Any],
    cases: Sequence[Case],
    *,
    up: Mapping[str, Any],
    frame: Mapping[str, Any],
    whole: bool,
) -> tuple[Methods, list[str], dict[str, str]]:
    """The meshes of every folder (name → path), paired with `cases` by id; what has no counterpart, in words; and
    facts for results.json. up, frame: of every folder. whole: `cases` are the whole list."""
    predictors: dict[str, Predictor] = {}
    notes: list[str] = []
    facts: dict[str, str] = {}
    wanted = {case.id for case in cases}
    for name, path in folders.items():
        source = open_meshes(path, up=up[name])
        ids = set(source.ids())
        if not ids & wanted:
            raise InputError(
                f"meshes of {name}: {path} has none of the {len(wanted)} objects; it has {_few(ids)}, they are "
                f"{_few(wanted)}: files are paired by id, their name without ending or the name of their folder"
            )
        if absent := wanted - ids:
            notes.append(f"{name}: {path} lacks {len(absent)} of the {len(wanted)} objects: {_few(absent)}.")
        if whole and (extra := ids - wanted):
            notes.append(f"{name}: {path} has {len(extra)} meshes that are not on the list: {_few(extra)}.")
        predictors[name] = MeshFolder(source, frame[name])
        digest = objects_hash((id, source.fingerprint(id)) for id in sorted(ids & wanted))
        facts[f"meshes {name}"] = f"{path} ({digest})"
    return (predictors, {}), notes, facts


def measure(
    objects: Objects,
    methods: Sequence[Methods],
    out: Path,
    *,
    protocols: Sequence[EvaluationProtocol],
    settings: Mapping[str, Any],
    appearance: LoadedAppearance | None,
    title: str,
    details: Mapping[str, str],
    provenance: Mapping[str, Any],
    notes: Sequence[str] = (),
    device: torch.device | None = None,
    shared: bool = False,
) -> list[Summary]:
    """Evaluate all `methods`, in order, on the objects; shared: with the other processes of the group."""
    predictors: dict[str, Predictor] = {}
    groups: dict[str, tuple[str, ...]] = {}
    for members, group in methods:
        if twice := sorted(set(members) & set(predictors)):
            raise InputError(f"two methods are called {twice[0]!r}; rename one")
        predictors |= members
        groups |= group
    facts = {**provenance, **objects.facts}
    with Bars(enabled=global_rank() == 0) as bars:
        return evaluate(
            predictors,
            objects.cases,
            out,
            protocols,
            best_of=groups,
            appearance=appearance,
            title=title,
            details=details,
            provenance=facts,
            key=json.dumps(facts, sort_keys=True) if settings.get("resume", True) else None,
            notes=[*objects.notes, *notes],
            mesh_format="glb" if settings.get("meshes", True) else None,
            pictures=bool(settings.get("pictures", True)),
            device=device,
            shared=shared,
            progress=lambda done, total, what: bars("evaluating", done, total, what),
        )


def _inputs(module: ReconstructionDataModule) -> Inputs:
    dataset = module.dataset("test")
    return lambda case: dataset.sources(case.views().id)


def _suffix(kind: str, data: Mapping[str, Any]) -> str:
    return f" {kind}" if len(data) > 1 else ""


def _few(ids: set[str], count: int = 5) -> str:
    listed = ", ".join(sorted(ids)[:count])
    return listed if len(ids) <= count else f"{listed} and {len(ids) - count} more"
