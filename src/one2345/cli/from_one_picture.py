"""Networks that are given one picture of an object and make the other views themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from one2345.build import build
from one2345.cli.objects import Objects
from one2345.cli.predictors import Methods
from one2345.data.sources import Source
from one2345.errors import InputError
from one2345.evaluation import Case, Prediction, Predictor
from one2345.meshing import Extractor
from one2345.objects import MeshObject
from one2345.pipeline import ImageTo3D, Weights
from one2345.views.preprocess import InputPicture
from one2345.views.simulation import SimulatedInputs
from one2345.views.synthesis import Oracle, Simulated, ViewSynthesizer


@dataclass(frozen=True, kw_only=True)
class FromOnePicture:
    """Predictor: renders the object from its input camera, and gives that picture alone to the pipeline.

    views: a synthesiser, or the node of one that is given the object (`oracle`, `simulated`). known: whether the
    pipeline is told the elevation of the input camera. settings: of `ImageTo3D`.
    """

    weights: Weights
    source: Source
    views: ViewSynthesizer | Mapping[str, Any]
    known: bool
    seed: int
    settings: Mapping[str, Any]

    def __call__(self, case: Case) -> Prediction:
        elevation = case.views().provenance.get("elevation")
        if not isinstance(elevation, int | float):
            raise InputError(f"{case.id}: its prepared views don't say the elevation of the input camera")
        item = self.source.load(case.id).object
        if isinstance(item, MeshObject):
            item.antialias = 2
        synthesizer, oracle = self._synthesizer(item, float(elevation))
        seen = oracle.picture()
        picture = InputPicture(
            image=seen.images[0], mask=seen.masks[0], facts={"foreground": "render"}, warnings=(), sha256=""
        )
        pipe = ImageTo3D(weights=self.weights, synthesizer=synthesizer, **self.settings)
        found = pipe(picture, seed=self.seed, elevation=float(elevation) if self.known else "estimate")
        assert found.elevation is not None
        sources = found.views[found.views.indices(*found.sources)]
        off = "" if self.known else f", elevation {found.elevation.degrees - elevation:+.1f} off"
        return Prediction(
            mesh=found.mesh, inputs=sources.images, note=f"1 picture, {len(sources)} views made{off}"
        )

    def _synthesizer(self, item: Any, elevation: float) -> tuple[ViewSynthesizer, Oracle]:
        """The synthesiser, and an oracle whose pictures have its size."""
        if not isinstance(self.views, Mapping):
            return self.views, Oracle(object=item, elevation=elevation, size=self.views.size)
        oracle = Oracle(object=item, elevation=elevation, size=self.views["size"])
        if "errors" in self.views:
            errors = build(self.views["errors"], allow_any=True)
            assert isinstance(errors, SimulatedInputs)
            return Simulated(oracle=oracle, errors=errors), oracle
        return oracle, oracle


def _knows_object(node: Mapping[str, Any]) -> bool:
    """Whether a synthesiser is made of the object itself, and so anew for every object."""
    return "object" in node


def pipelines(
    config: Mapping[str, Any],
    weights: Mapping[str, Weights],
    synthesisers: Mapping[str, Mapping[str, Any]],
    objects: Objects,
    *,
    extractor: Extractor,
    device: torch.device,
) -> Methods:
    """Every network with every synthesiser (name → node)."""
    if not synthesisers:
        return {}, {}
    if objects.source is None:
        raise InputError(
            "evaluate.views looks at the objects from cameras of its own, so it needs them: truth=DIR, or data=shapes"
        )
    predictors: dict[str, Predictor] = {}
    settings = {
        "plan": build(config["plan"], allow_any=True),
        "estimator": build(config["elevation_estimator"], allow_any=True),
        "extractor": extractor,
        "device": device,
    }
    made = {
        k: node if _knows_object(node) else build(node, allow_any=True) for k, node in synthesisers.items()
    }
    for name, found in weights.items():
        for views, synthesiser in made.items():
            predictors[f"{name} from 1 picture, {views}"] = FromOnePicture(
                weights=found, source=objects.source, views=synthesiser, seed=config["seed"],
                known=config["evaluate"]["elevation"] == "known", settings=settings,
            )  # fmt: skip
    return predictors, {}
