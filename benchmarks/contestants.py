"""What is timed: for each contestant the stages as calls, everything before a stage done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from recipe import PublishedRecipe, Volume
from recipe.volume import cost_rows, visible_voxels, voxels
from scene import Scene, Sizes, recipe, sdf_base, sparseneus
from torch import Tensor

from one2345.data.batch import SceneBatch, TargetRays
from one2345.geometry import Cameras, Mesh, Rays
from one2345.losses import WeightedLosses
from one2345.meshing import Extractor, colour_vertices, extract
from one2345.models import SparseNeus
from one2345.models.base import ReconstructionNetwork
from one2345.rendering import PlacedField, RenderSettings, ray_interval, render_rays
from one2345.training.terms import StepTerms, TermSettings

Call = Callable[[], Any]
CLIP, LR = 1.0, 2e-4


def train_step(model: torch.nn.Module, loss: Callable[[], Tensor]) -> Call:
    """Adam with the gradient's norm clipped, as released."""
    optimiser = torch.optim.Adam(model.parameters(), lr=LR)

    def step() -> float:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()
        return float(value.detach())

    return step


def quiet(call: Call) -> Call:
    return torch.no_grad()(call)


class Stick:
    """The measuring stick. way: of the 3D network, gather or dense."""

    def __init__(self, sizes: Sizes, scene: Scene, device: str, way: Any = "gather") -> None:
        self.sizes, self.scene, self.way = sizes, scene, way
        self.net: PublishedRecipe = recipe(sizes, sparseneus(sizes).state_dict()).to(device)
        self.sources, self.targets = scene.sources(), scene.targets()

    @cached_property
    @torch.no_grad()
    def maps(self) -> Tensor:
        return self.net.features(self.scene.images)

    @cached_property
    @torch.no_grad()
    def rows(self) -> tuple[Tensor, Tensor]:
        """As `PublishedRecipe.cost_volume`, in pieces, so that preparing takes no more memory than what is timed."""
        points, n = voxels(self.sizes.volume).to(self.maps), self.sizes.volume
        size = (self.sizes.pixels, self.sizes.pixels)
        kept = torch.cat([visible_voxels(p, self.sources.projections, size) for p in points.split(2**15)])
        small = self.net.compress(self.maps)
        pieces = points[kept].split(2**13)
        rows = torch.cat([cost_rows(small, p, self.sources.projections, size) for p in pieces])
        flat = kept.nonzero()[:, 0]
        return rows, torch.stack([flat // n**2, flat // n % n, flat % n], -1)

    @cached_property
    @torch.no_grad()
    def volume(self) -> Volume:
        return self.net.regularise(*self.rows, "dense")

    def features(self) -> Call:
        return quiet(lambda: self.net.features(self.scene.images))

    def lift(self) -> Call:
        maps = self.maps
        return quiet(lambda: self.net.cost_volume(maps, self.sources))

    def network(self) -> Call:
        rows = self.rows
        return quiet(lambda: self.net.regularise(*rows, self.way))

    def encode(self) -> Call:
        return quiet(
            lambda: self.net.regularise(
                *self.net.cost_volume(self.net.features(self.scene.images), self.sources), self.way
            )
        )

    def rays(self) -> Call:
        volume, maps = self.volume, self.maps
        return quiet(lambda: self.net.render(volume, maps, self.sources, self.targets))

    def backward(self) -> Call:
        maps = self.maps.clone().requires_grad_()
        volume = replace(self.volume, values=self.volume.values.clone().requires_grad_())

        def call() -> None:
            self.net.zero_grad()
            maps.grad = volume.values.grad = None
            rendered = self.net.render(volume, maps, self.sources, self.targets)
            self.net.loss(volume, rendered, self.targets).backward()

        return call

    def step(self) -> Call:
        image = self.scene.reference_image
        return train_step(
            self.net, lambda: self.net.step_loss(self.sources, image, self.targets, way=self.way)
        )

    def grid(self) -> Call:
        volume = self.volume
        return quiet(lambda: self.net.mesh(volume, self.sizes.lattice))

    def colours(self) -> Call:
        volume, maps = self.volume, self.maps
        vertices = sphere_vertices(self.sizes).to(maps)
        return quiet(lambda: self.net.vertex_colours(volume, maps, self.sources, vertices))

    def extraction(self) -> Call:
        volume, maps = self.volume, self.maps

        def call() -> Any:
            vertices, faces = self.net.mesh(volume, self.sizes.lattice)
            points = torch.from_numpy(vertices).to(maps)
            return vertices, faces, self.net.vertex_colours(volume, maps, self.sources, points)

        return quiet(call)

    def mesh(self) -> Call:
        return quiet(lambda: self.net.reconstruct(self.sources, resolution=self.sizes.lattice, way=self.way))


def sphere_vertices(sizes: Sizes) -> Tensor:
    """As many points (p, 3) as a mesh of the seeded field has at this lattice, on the sphere it starts as."""
    count = max(16, round(76_776 * (sizes.lattice / 256) ** 2))
    index = torch.arange(count, dtype=torch.float64) + 0.5
    z, turn = 1 - 2 * index / count, index * (torch.pi * (1 + 5**0.5))
    flat = (1 - z * z).sqrt()
    return 0.544 * torch.stack([flat * turn.cos(), flat * turn.sin(), z], -1).float()


class Product:
    """A network of one2345 through the calls that training and reconstruction make."""

    def __init__(self, sizes: Sizes, scene: Scene, device: str, model: ReconstructionNetwork) -> None:
        self.sizes, self.scene, self.device = sizes, scene, device
        self.model = model.to(device)
        self.images, self.masks = scene.images[None], scene.masks[None]
        self.cameras, self.reference = _batch(scene.cameras), _batch(scene.reference)

    def field(self, *, training: bool = False) -> Any:
        self.model.train(training)
        return self.model(self.images, self.masks, self.cameras, reference=self.reference)

    @cached_property
    @torch.no_grad()
    def placed(self) -> Any:
        return self.field()

    def batch(self) -> SceneBatch:
        """One object, labelled points included: those that its loss asks for are on the ellipsoid's box."""
        scene, b = self.scene, self.sizes.batch
        generator = torch.Generator().manual_seed(1)
        points = (torch.rand(1, 8192, 3, generator=generator) - 0.5).to(self.device)
        surface = (torch.rand(1, 1024, 3, generator=generator) - 0.5).to(self.device)
        rays = TargetRays(
            origins=scene.origins[None], directions=scene.directions[None], rgb=scene.rgb[None],
            mask=scene.mask[None], t=None,
        )  # fmt: skip
        one = SceneBatch(
            ids=("benchmark",), seeds=(0,), images=self.images, masks=self.masks, cameras=self.cameras, rays=rays,
            sdf_points=points, sdf_values=points.norm(dim=-1) - 0.3,
            surface_points=surface, surface_normals=torch.nn.functional.normalize(surface, dim=-1),
            surface_colours=surface + 0.5, reference=self.reference,
        )  # fmt: skip
        return one if b == 1 else _repeated(one, b)

    def encode(self) -> Call:
        self.model.eval()
        return quiet(self.field)

    def rays(self) -> Call:
        placed = self.placed
        local, rays = self._local(placed)
        near, far, _ = ray_interval(local, local.box, rays)
        inv_s = self.model.variance().detach()
        return quiet(
            lambda: render_rays(
                local, rays.origins, rays.directions, near, far, inv_s=inv_s, settings=self.settings.render
            )
        )

    def _local(self, placed: Any) -> tuple[Any, Rays]:
        rays = Rays(origins=self.scene.origins[None], directions=self.scene.directions[None])
        if not isinstance(placed, PlacedField):
            return placed, rays
        frame = placed.frame
        return placed.local, Rays(
            origins=frame.points_to_local(rays.origins), directions=frame.directions_to_local(rays.directions)
        )

    settings = TermSettings()
    loss: WeightedLosses

    def losses(self, placed: Any, batch: SceneBatch) -> Tensor:
        if isinstance(placed, PlacedField):
            placed, batch = placed.local, batch.in_frame(placed.frame)
        terms = StepTerms(placed, batch, inv_s=self.model.variance(), anneal=1.0, settings=self.settings)
        return self.loss(terms.functions())[0]

    def backward(self) -> Call:
        """Gradients end at the volume and the feature maps, as the stick's do."""
        batch = self.batch()
        placed = self.placed
        local = placed.local if isinstance(placed, PlacedField) else placed
        leaves = [local.volume.values.clone().requires_grad_(), local.colour_maps.clone().requires_grad_()]
        own = replace(local, volume=replace(local.volume, values=leaves[0]), colour_maps=leaves[1])
        if isinstance(placed, PlacedField):
            own = PlacedField(own, placed.frame)

        def call() -> None:
            self.model.zero_grad()
            for leaf in leaves:
                leaf.grad = None
            self.losses(own, batch).backward()

        return call

    def step(self) -> Call:
        batch = self.batch()
        return train_step(self.model, lambda: self.losses(self.training_field(batch), batch))

    def training_field(self, batch: SceneBatch) -> Any:
        self.model.train()
        return self.model(batch.images, batch.masks, batch.cameras, reference=batch.reference)

    def grid(self) -> Call:
        placed = self.placed
        return quiet(lambda: self._surface(placed))

    def _surface(self, placed: Any) -> Mesh:
        return extract(
            lambda p: placed.sdf(p[None])[0], placed.box, resolution=self.sizes.lattice, device=self.device
        )

    def _coloured(self, placed: Any, mesh: Mesh) -> Mesh:
        return colour_vertices(
            mesh, lambda p, n: placed.surface_colour(p[None], n[None])[0], device=self.device
        )

    def colours(self) -> Call:
        placed = self.placed
        mesh = self._surface(placed)
        return quiet(lambda: self._coloured(placed, mesh))

    def extraction(self) -> Call:
        placed = self.placed
        return quiet(lambda: self._coloured(placed, self._surface(placed)))

    def mesh(self) -> Call:
        """As reconstruct.py goes: field, extractor with its cleaning, colours."""
        extractor = Extractor(resolution=self.sizes.lattice)
        self.model.eval()

        def call() -> Mesh:
            placed = self.field()
            return extractor(
                lambda p: placed.sdf(p[None])[0], placed.box,
                lambda p, n: placed.surface_colour(p[None], n[None])[0], device=self.device,
            )  # fmt: skip

        return quiet(call)


class Sparse(Product):
    """model=sparseneus with the published quirks, every sample that has weight coloured."""

    settings = TermSettings(render=RenderSettings(colour_eps=0.0))
    loss = WeightedLosses(colour=1.0, eikonal=0.1, mask=0.1, sparsity=0.02)

    def __init__(self, sizes: Sizes, scene: Scene, device: str) -> None:
        super().__init__(sizes, scene, device, sparseneus(sizes))
        self.net: SparseNeus = self.model  # type: ignore[assignment]

    def training_field(self, batch: SceneBatch) -> Any:
        self.model.train()
        beside = self.scene.reference_image[None].expand(len(batch), -1, -1, -1, -1)
        return self.net(batch.images, batch.masks, batch.cameras, reference=batch.reference, beside=beside)

    @cached_property
    def local_cameras(self) -> Cameras:
        return self.scene.frame.cameras_to_local(self.cameras)[0]

    def features(self) -> Call:
        self.model.eval()
        return quiet(lambda: self.net.fused_features(self.images[0]))

    @torch.no_grad()
    def lift(self) -> Call:
        self.model.eval()
        maps = self.net.fused_features(self.images[0])
        return quiet(lambda: self.net.cost_volume(self.net.compress(maps), self.local_cameras))

    @torch.no_grad()
    def network(self) -> Call:
        volume, active = self.lift()()
        return quiet(lambda: self.net.volume_net(volume, active))

    def colours(self) -> Call:
        """The stick's points rather than its own mesh's vertices."""
        placed = self.placed
        points = placed.frame.points_to_world(sphere_vertices(self.sizes).to(self.device)[None])[0]
        normals = torch.nn.functional.normalize(points, dim=-1)
        return quiet(
            lambda: torch.cat(
                [
                    placed.surface_colour(p[None], n[None])[0]
                    for p, n in zip(points.split(16384), normals.split(16384), strict=True)
                ]
            )
        )


class Base(Product):
    """model=sdf_base with the loss that it is trained with."""

    loss = WeightedLosses(colour=0.5, mask=0.1, eikonal=0.02, sdf=10.0, texture_consistency=0.5)

    def __init__(self, sizes: Sizes, scene: Scene, device: str) -> None:
        super().__init__(sizes, scene, device, sdf_base(sizes))


class Spconv:
    """spconv's convolutions in the place of the stick's, weights of its own: the same sites, channels and strides."""

    def __init__(self, sizes: Sizes, scene: Scene, device: str) -> None:
        import spconv.pytorch as spconv

        self.stick, self.device = Stick(sizes, scene, device), device
        algo = spconv.ConvAlgo.Native if device == "cpu" else None

        def sub(i: int, o: int, key: str) -> Any:
            return spconv.SubMConv3d(i, o, 3, bias=False, indice_key=key, algo=algo)

        def down(i: int, o: int, key: str) -> Any:
            return spconv.SparseConv3d(i, o, 3, 2, 1, bias=False, indice_key=key, algo=algo)

        def up(i: int, o: int, key: str) -> Any:
            return spconv.SparseInverseConv3d(i, o, 3, bias=False, indice_key=key, algo=algo)

        def unit(conv: Any, width: int) -> Any:
            return spconv.SparseSequential(conv, torch.nn.BatchNorm1d(width), torch.nn.ReLU())

        self.layers = torch.nn.ModuleDict(
            {
                "0": unit(sub(32, 16, "s0"), 16),
                "1": unit(down(16, 16, "d1"), 16), "2": unit(sub(16, 16, "s1"), 16),
                "3": unit(down(16, 32, "d2"), 32), "4": unit(sub(32, 32, "s2"), 32),
                "5": unit(down(32, 64, "d3"), 64), "6": unit(sub(64, 64, "s3"), 64),
                "7": unit(up(64, 32, "d3"), 32), "9": unit(up(32, 16, "d2"), 16), "11": unit(up(16, 16, "d1"), 16),
            }
        ).to(device)  # fmt: skip

    def network(self) -> Call:
        import spconv.pytorch as spconv

        rows, at = self.stick.rows
        n = self.stick.sizes.volume + 1
        places = torch.cat([torch.zeros_like(at[:, :1]), at], 1).int().contiguous()

        def plus(a: Any, b: Any) -> Any:
            return a.replace_feature(a.features + b.features)

        def call() -> Tensor:
            f = self.layers
            x0 = f["0"](spconv.SparseConvTensor(rows, places, [n] * 3, 1))
            x1 = f["2"](f["1"](x0))
            x2 = f["4"](f["3"](x1))
            x3 = f["6"](f["5"](x2))
            x2 = plus(x2, f["7"](x3))
            x1 = plus(x1, f["9"](x2))
            return plus(x0, f["11"](x1)).dense()

        return quiet(call)


def _batch(cameras: Cameras) -> Cameras:
    return Cameras(K=cameras.K[None], c2w=cameras.c2w[None], size=cameras.size)


def _repeated(batch: SceneBatch, times: int) -> SceneBatch:
    """The same object `times` times."""

    def several(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.expand(times, *value.shape[1:]).contiguous()
        if isinstance(value, tuple):
            return value * times
        if isinstance(value, Cameras):
            return Cameras(K=several(value.K), c2w=several(value.c2w), size=value.size)
        if isinstance(value, TargetRays):
            return TargetRays(**{k: several(v) for k, v in vars(value).items()})
        return value

    return SceneBatch(**{k: several(v) for k, v in vars(batch).items()})


STAGES = {
    "features": ("stick", "sparseneus"),
    "lift": ("stick", "sparseneus"),
    "network": ("stick gather", "stick dense", "spconv", "sparseneus"),
    "encode": ("stick", "sparseneus", "sdf_base"),
    "rays": ("stick", "sparseneus", "sdf_base"),
    "backward": ("stick", "sparseneus", "sdf_base"),
    "step": ("stick dense", "sparseneus", "sdf_base"),
    "grid": ("stick", "sparseneus", "sdf_base"),
    "colours": ("stick", "sparseneus", "sdf_base"),
    "extraction": ("stick", "sparseneus", "sdf_base"),
    "mesh": ("stick", "sparseneus", "sdf_base"),
}
"""Who takes part in which stage. encode: features, lift and network. The stick's 3D network gathers, as published,
but for the step, which the published figures are of with a dense one."""


def prepare(stage: str, name: str, sizes: Sizes, scene: Scene, device: str) -> Call:
    """The call of a contestant of STAGES."""
    if name.startswith("stick"):
        side: Any = Stick(sizes, scene, device, "dense" if name == "stick dense" else "gather")
    else:
        side = {"sparseneus": Sparse, "sdf_base": Base, "spconv": Spconv}[name](sizes, scene, device)
    return getattr(side, stage)()
