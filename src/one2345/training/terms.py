"""The loss terms of one training step: what each compares, computed once and only when asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .. import kaolin, losses
from ..data.batch import SceneBatch
from ..errors import InputError
from ..geometry import Rays, pixel_rays
from ..meshing import surface_vertices
from ..models import ReconstructionField
from ..rendering import BoundedField, RayRender, RenderSettings, ray_interval, render_rays
from ..seeding import torch_rng

MeshPoints = Literal["projected", "flexicubes"]


@dataclass(frozen=True, kw_only=True)
class TermSettings:
    """render: sampling along rays. truncation: distance, in world units, beyond which SDF labels only give the side.
    inside: whether labels inside a shape are distances to its surface or bounds of them, see `sdf_l1`.
    uniform_points: of the sparsity term. spread: standard deviation, in world units, of the points from which the mesh
    term steps to the surface. source_rays: rays per object of the view consistency term.
    mesh_points: what the mesh term compares with the truth. "projected": points stepped to the surface;
    "flexicubes": vertices of the surface between mesh_resolution^3 nodes, which needs kaolin (InputError without).
    """

    render: RenderSettings = field(default_factory=RenderSettings)
    truncation: float = 0.1
    inside: losses.Inside = "bound"
    uniform_points: int = 1024
    spread: float = 0.02
    source_rays: int = 128
    mesh_points: MeshPoints = "projected"
    mesh_resolution: int = 48

    def __post_init__(self) -> None:
        if self.mesh_points not in get_args(MeshPoints):
            raise InputError(
                f"training.terms.mesh_points={self.mesh_points}, expected {' or '.join(get_args(MeshPoints))}"
            )
        if self.mesh_resolution < 2:
            raise InputError(f"training.terms.mesh_resolution={self.mesh_resolution}, expected at least 2")
        if self.mesh_points == "flexicubes":
            kaolin.require()


class StepTerms:
    """Terms by name as functions without arguments, for `WeightedLosses`; field and batch are in one frame.

    Random numbers come from the objects' own streams (`batch.seeds`), so a term of an object is the same
    whatever rank it is on and whatever else is in its batch. render: `render_rays`, or the same compiled.
    """

    def __init__(
        self,
        field: ReconstructionField,
        batch: SceneBatch,
        *,
        inv_s: Tensor,
        anneal: float,
        settings: TermSettings,
        render: Callable[..., RayRender] = render_rays,
    ) -> None:
        self.field, self.batch, self.inv_s, self.anneal, self.settings = field, batch, inv_s, anneal, settings
        self.render = render

    def functions(self) -> dict[str, Callable[[], Tensor]]:
        return {
            "colour": lambda: losses.colour_l1(self.rendered.rgb, self.batch.rays.rgb, self.rendered.valid),
            "mask": lambda: losses.mask_l1(self.rendered.weights_sum, self.batch.rays.mask),
            "depth": self._depth,
            "eikonal": lambda: losses.eikonal(self.rendered.gradient, self.rendered.inside),
            "sparsity": self._sparsity,
            "sdf": self._sdf,
            "view_consistency": self._view_consistency,
            "texture_consistency": self._texture_consistency,
            "mesh_regularisation": self._mesh_regularisation,
        }

    @cached_property
    def rendered(self) -> RayRender:
        """The batch's rays through the field."""
        rays = self.batch.rays
        return self._render(Rays(origins=rays.origins, directions=rays.directions), "rays")

    def _depth(self) -> Tensor:
        if self.batch.rays.t is None:
            raise InputError(
                f"{', '.join(self.batch.ids)}: prepared without depth, which the depth term needs; "
                "loss.depth=0 trains without it"
            )
        return losses.depth_l1(self.rendered.t, self.batch.rays.t)

    def _sparsity(self) -> Tensor:
        unit = self._random("sparsity", self.settings.uniform_points, 3) * 2 - 1
        uniform = self.field.sdf(self.field.box.to_world(unit))
        counts = self.rendered.inside
        if isinstance(self.field, BoundedField) and self.field.rules.count_outside:
            counts = self.rendered.hit[..., None].expand_as(counts)
        return losses.sparsity(uniform, self.rendered.sdf, counts)

    def _labelled(self, points: Tensor, term: str) -> Tensor:
        """Labelled points; InputError where the data have none for a term that needs them."""
        if points.shape[1] == 0:
            raise InputError(
                f"{', '.join(self.batch.ids)}: has no labels of the shape, which loss.{term} needs; set it to 0"
            )
        return points

    def _sdf(self) -> Tensor:
        points = self._labelled(self.batch.sdf_points, "sdf")
        predicted = self.field.sdf(points)
        return losses.sdf_l1(
            predicted,
            self.batch.sdf_values,
            truncation=self.settings.truncation,
            inside=self.settings.inside,
        )

    def _view_consistency(self) -> Tensor:
        """Source pixels, as given, against the field rendered through them."""
        views, height, width = self.batch.masks.shape[1:]
        origins, directions, given = [], [], []
        for index, draw in enumerate(self._random("source pixels", self.settings.source_rays, 3)):
            limit = draw.new_tensor([views, height, width])
            v, y, x = (draw * limit).long().minimum(limit.long() - 1).unbind(-1)
            cameras = self.batch.cameras[index][v]
            rays = pixel_rays(cameras, torch.stack([x + 0.5, y + 0.5], -1)[:, None])
            origins.append(rays.origins[:, 0])
            directions.append(rays.directions[:, 0])
            given.append(self.batch.images[index, v, :, y, x])
        rendered = self._render(
            Rays(origins=torch.stack(origins), directions=torch.stack(directions)), "source rays"
        )
        return losses.view_consistency(rendered.rgb, torch.stack(given), rendered.hit)

    def _texture_consistency(self) -> Tensor:
        points = self._labelled(self.batch.surface_points, "texture_consistency")
        colour, seen = self.field.colour(points, self.batch.surface_normals)
        return losses.texture_consistency(colour, self.batch.surface_colours, seen > 0)

    def _mesh_regularisation(self) -> Tensor:
        vertices = self._labelled(self.batch.surface_points, "mesh_regularisation")
        if self.settings.mesh_points == "flexicubes":
            predicted, mask = self._extracted_vertices()
            # Without a surface there is no vertex, yet every rank has to use the same parameters.
            none = 0.0 * self.field.sdf(vertices[:, :1]).sum()
            return losses.vertex_distance(predicted, vertices, mask) + none
        noise = torch.special.ndtri(self._random("mesh", vertices.shape[1], 3).clamp(1e-4, 1 - 1e-4))
        points = vertices + self.settings.spread * noise
        sdf, gradient = self.field.sdf_and_gradient(points)
        return losses.mesh_regularisation(points, sdf, gradient, vertices)

    def _extracted_vertices(self) -> tuple[Tensor, Tensor]:
        """Vertices (b, n, 3) of the objects' surfaces, padded to at least one, and which are real (b, n)."""
        found = []
        for index in range(len(self.batch)):
            one = self.field.only(index)
            found.append(
                surface_vertices(
                    lambda points, one=one: one.sdf(points[None])[0],
                    self.field.box,
                    resolution=self.settings.mesh_resolution,
                    device=self.batch.images.device,
                )
            )
        counts = torch.tensor([len(vertices) for vertices in found], device=self.batch.images.device)
        padding = found[0].new_zeros(1, 3)
        padded = pad_sequence([*found, padding], batch_first=True)[:-1]
        return padded, torch.arange(padded.shape[1], device=counts.device) < counts[:, None]

    def _render(self, rays: Rays, stream: str) -> RayRender:
        near, far, _ = ray_interval(self.field, self.field.box, rays)
        return self.render(
            self.field,
            rays.origins,
            rays.directions,
            near,
            far,
            inv_s=self.inv_s,
            settings=self.settings.render,
            anneal=self.anneal,
            noise=self._random(stream, rays.origins.shape[1], self.settings.render.coarse),
        )

    def _random(self, stream: str, *shape: int) -> Tensor:
        """Uniform numbers (b, *shape) in [0, 1), each object's from its own stream."""
        drawn = torch.stack(
            [torch.rand(*shape, generator=torch_rng(seed, stream)) for seed in self.batch.seeds]
        )
        return drawn.to(self.batch.images)
