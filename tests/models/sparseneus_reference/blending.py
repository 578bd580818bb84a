"""Colour from source views: the fixture's quirks 7 and 9."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from tests.models.sparseneus_reference.field import geometry_feature, sdf_and_gradient, touches_active
from tests.models.sparseneus_reference.volume import read_picture
from tests.models.sparseneus_reference.weights import Weights
from torch import Tensor

NET = "rendering_network_lod0"


@dataclass(frozen=True)
class Support:
    """What colours are read from, n sources: pictures (n, 3, h, h), fused (n, 56, h, h), affine (n, 4, 4) = K w2c,
    centres (n, 3) in the cube; and the volume (g, g, g, 16) with its active voxels (g, g, g)."""

    pictures: Tensor
    fused: Tensor
    affine: Tensor
    centres: Tensor
    volume: Tensor
    active: Tensor


@dataclass(frozen=True)
class Looked:
    """Points seen from the sources: features (n, p, 59) = rgb 3 and fused 56, mask (n, p), geometry (p, 16)."""

    features: Tensor
    mask: Tensor
    geometry: Tensor


@dataclass(frozen=True)
class Blend:
    """ray_diff (n, p, 4), weights (n, p) over the views, rgb (p, 3)."""

    ray_diff: Tensor
    weights: Tensor
    rgb: Tensor


def look(support: Support, points: Tensor) -> Looked:
    """Read all views at points (p, 3). A view counts where the projection is strictly inside the frame and the
    volume has an active voxel around; a depth below 1e-3, behind the camera too, counts as 1e-3."""
    features, masks = [], []
    valid = touches_active(support.active, points)
    for picture, fused, matrix in zip(support.pictures, support.fused, support.affine, strict=True):
        size = picture.shape[-1]
        q = points @ matrix[:3, :3].T + matrix[:3, 3]
        depth = q[:, 2].clamp(min=1e-3)
        xy = 2 * q[:, :2] / depth[:, None] / (size - 1) - 1
        xy = torch.where(xy.abs() > 1, torch.full_like(xy, 2.0), xy)
        masks.append((xy.abs() < 1).all(dim=-1) & valid)
        u, v = ((xy + 1) / 2 * (size - 1)).unbind(dim=-1)
        features.append(read_picture(torch.cat([picture, fused]), u, v))
    return Looked(torch.stack(features), torch.stack(masks), geometry_feature(support.volume, points))


def unit(x: Tensor) -> Tensor:
    return x / (x.norm(dim=-1, keepdim=True) + 1e-6)


def ray_difference(query: Tensor, points: Tensor, centres: Tensor) -> Tensor:
    """(n, p, 4): the unit vector of q - s and q.s; q = query (p, 3), s = from the point to the source camera."""
    source = unit(centres[:, None] - points)
    difference = query - source
    length = difference.norm(dim=-1, keepdim=True)
    dot = (query * source).sum(dim=-1, keepdim=True)
    return torch.cat([difference / length.clamp(min=1e-6), dot], dim=-1)


def fc(x: Tensor, weights: Weights, name: str) -> Tensor:
    return x @ weights[f"{NET}.{name}.weight"].T + weights[f"{NET}.{name}.bias"]


def blend(looked: Looked, ray_diff: Tensor, weights: Weights) -> Blend:
    """The network: weights over the views and the mix of their colours. Views in the leading axis throughout."""
    mask = looked.mask.double()[..., None]
    features = looked.features + F.elu(
        fc(F.elu(fc(ray_diff, weights, "ray_dir_fc.0")), weights, "ray_dir_fc.2")
    )

    alias = torch.exp(weights[f"{NET}.s"].abs() * (ray_diff[..., 3:] - 1))
    alias = (alias - alias.amin(dim=0, keepdim=True)) * mask
    alias = alias / (alias.sum(dim=0, keepdim=True) + 1e-8)
    mean = (alias * features).sum(dim=0, keepdim=True)
    variance = (alias * (features - mean) ** 2).sum(dim=0, keepdim=True)

    views = len(features)
    of_point = torch.cat([looked.geometry[None], mean, variance], dim=-1).expand(views, -1, -1)
    x = torch.cat([of_point, features], dim=-1)
    x = F.elu(fc(F.elu(fc(x, weights, "base_fc.0")), weights, "base_fc.2"))
    y = F.elu(fc(F.elu(fc(x * alias, weights, "vis_fc.0")), weights, "vis_fc.2"))
    x, visible = x + y[..., :32], torch.sigmoid(y[..., 32:]) * mask
    y = torch.sigmoid(fc(F.elu(fc(x * visible, weights, "vis_fc2.0")), weights, "vis_fc2.2")) * mask
    y = torch.cat([x, y, ray_diff], dim=-1)
    y = fc(F.elu(fc(F.elu(fc(y, weights, "rgb_fc.0")), weights, "rgb_fc.2")), weights, "rgb_fc.4")
    logits = torch.where(mask == 0, torch.full_like(y, -1e9), y)
    shares = torch.softmax(logits, dim=0)
    return Blend(ray_diff, shares[..., 0], (shares * looked.features[..., :3]).sum(dim=0))


def colour(support: Support, points: Tensor, query: Tensor, weights: Weights) -> tuple[Blend, Tensor]:
    """Blend at points (p, 3) for query directions (p, 3), and the mask (n, p) of views that count."""
    looked = look(support, points)
    return blend(looked, ray_difference(query, points, support.centres), weights), looked.mask


def vertex_colours(support: Support, vertices: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
    """(p, 3) colours of surface points, the query direction being the outward normal; (p) how many views count."""
    _, gradient = sdf_and_gradient(support.volume, vertices, weights)
    blended, mask = colour(support, vertices, F.normalize(gradient, dim=-1), weights)
    return blended.rgb, mask.sum(dim=0)
