"""Every loss alone reaches the parameters it names, and is halved by fifty steps on one object."""

import pytest
import torch
import yaml
from tests.training.scenes import sphere_batch, tiny_model

from one2345.build import build
from one2345.losses import WeightedLosses
from one2345.paths import conf_dir
from one2345.rendering import RenderSettings
from one2345.training import AdamCosine, ReconstructionModule, TermSettings

GEOMETRY = ("feature_net", "volume_net", "sdf_net")
REACHES = {
    "colour": (*GEOMETRY, "blend_net", "variance"),
    "mask": (*GEOMETRY, "variance"),
    "depth": (*GEOMETRY, "variance"),
    "eikonal": GEOMETRY,
    "sparsity": GEOMETRY,
    "sdf": GEOMETRY,
    "view_consistency": (*GEOMETRY, "blend_net", "variance"),
    "texture_consistency": ("feature_net", "volume_net", "blend_net"),
    "mesh_regularisation": GEOMETRY,
}


def _module(name: str) -> ReconstructionModule:
    return ReconstructionModule(
        model=tiny_model(),
        loss=WeightedLosses(**{name: 1.0}),
        optim=AdamCosine(lr=5e-3),
        terms=TermSettings(render=RenderSettings(coarse=16, fine=16), uniform_points=256, source_rays=96),
    )


@pytest.mark.parametrize("name", REACHES)
def test_gradients_reach_the_parameters_the_loss_names(name: str) -> None:
    module = _module(name)
    total, terms = module.losses(sphere_batch(), step=0)
    assert set(terms) == {name} and torch.isfinite(total)
    total.backward()
    for part, network in module.model.named_children():
        gradients = [p.grad.abs().max() for p in network.parameters() if p.grad is not None]
        reached = bool(gradients) and float(max(gradients)) > 0
        assert reached == (part in REACHES[name]), part


@pytest.mark.parametrize("name", REACHES)
def test_fifty_steps_halve_the_loss(name: str) -> None:
    module = _module(name)
    batch = sphere_batch()
    optimizer, _ = module.optim(module.model.parameters(), 50)
    values = []
    for _ in range(51):
        total, _ = module.losses(batch, step=0)
        values.append(float(total.detach()))
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(module.model.parameters(), 1.0)
        optimizer.step()
    assert min(values[-5:]) < 0.5 * values[0], f"{name}: {values[0]:.4g} -> {values[-1]:.4g}"


def test_seed_summary_is_exactly_its_three_losses() -> None:
    node = yaml.safe_load((conf_dir() / "loss" / "seed_summary.yaml").read_text())
    assert set(build(node).ever_active) == {"view_consistency", "texture_consistency", "mesh_regularisation"}
