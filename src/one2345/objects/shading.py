"""Optional Lambert shading, the same for analytic shapes and meshes, so that both renderers agree."""

from __future__ import annotations

import torch

# Unit direction from the object to a distant light: above, in front and to the right of the default view.
LIGHT_WORLD = (0.35, -0.60, 0.72)
AMBIENT = 0.45


def shade(albedo: torch.Tensor, normals: torch.Tensor, strength: float) -> torch.Tensor:
    """Darken albedo where the surface turns away from a distant light that is fixed in the world.

    The factor is (1 - strength) + strength * (AMBIENT + (1 - AMBIENT) * (1 + n.l) / 2): wrapped Lambert, so
    that shaded sides keep some shape. Strength 0 returns albedo itself.

    albedo: (..., 3) in [0, 1]; normals: (..., 3) unit, world frame; strength: in [0, 1].
    Returns (..., 3) in [0, 1]. Raises ValueError when strength lies outside [0, 1].
    """
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"shading is {strength}, expected a number in [0, 1]")
    if strength == 0.0:
        return albedo
    light = torch.nn.functional.normalize(normals.new_tensor(LIGHT_WORLD), dim=0)
    lambert = AMBIENT + (1.0 - AMBIENT) * (1.0 + (normals * light).sum(dim=-1, keepdim=True)) / 2.0
    return albedo * ((1.0 - strength) + strength * lambert)
