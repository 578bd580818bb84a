"""Random checkpoints in the released format: right names and shapes, nothing degenerate.

Scales of both signs, running statistics that are not 0 and 1, rows of weight_v whose length differs from weight_g, a
negative s: what a wrong import gets wrong shows. The signed distance starts from a sphere in the cube, bent by the
point's encoding and the volume, so that it has a surface.
"""

import math
from typing import Any

import torch
from torch import Tensor

Network = dict[str, Tensor]
RADIUS = 0.42


def random_checkpoint(seed: int) -> dict[str, Any]:
    """The dict that torch.load gives of a released checkpoint, float32."""
    draw = _Draw(seed)
    return {
        "sdf_network_lod0": _sdf_network(draw),
        "rendering_network_lod0": _rendering_network(draw),
        "variance_network_lod0": {"variance": torch.tensor(0.3)},
        "pyramid_feature_network": _pyramid(draw),
        "optimizer": {"state": {}, "param_groups": [{"lr": 2e-4, "betas": (0.9, 0.999), "params": [0]}]},
        "iter_step": 1000,
        "val_step": 0,
    }


class _Draw:
    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, sd: float) -> Tensor:
        return sd * torch.randn(*shape, generator=self.generator)

    def uniform(self, *shape: int, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=self.generator)

    def norm(self, name: str, channels: int, scale: float = 1.0) -> Network:
        sign = torch.where(torch.rand(channels, generator=self.generator) < 0.5, -1.0, 1.0)
        return {
            f"{name}.weight": sign * self.uniform(channels, low=0.5, high=1.5) * scale,
            f"{name}.bias": self.normal(channels, sd=0.3 * scale),
            f"{name}.running_mean": self.normal(channels, sd=0.4),
            f"{name}.running_var": self.uniform(channels, low=0.3, high=1.5),
            f"{name}.num_batches_tracked": torch.tensor(1000),
        }

    def conv(self, name: str, into: int, out: int, kernel: int) -> Network:
        weight = self.normal(out, into, kernel, kernel, sd=math.sqrt(1.5 / (into * kernel**2)))
        return {f"{name}.weight": weight}

    def affine(self, name: str, into: int, out: int) -> Network:
        weight = self.normal(out, into, sd=math.sqrt(2 / into))
        return {f"{name}.weight": weight, f"{name}.bias": self.normal(out, sd=0.1)}


def _pyramid(draw: _Draw) -> Network:
    net: Network = {}
    units = {
        "conv0": [(3, 8, 3), (8, 8, 3)],
        "conv1": [(8, 16, 5), (16, 16, 3), (16, 16, 3)],
        "conv2": [(16, 32, 5), (32, 32, 3), (32, 32, 3)],
    }
    for stage, layers in units.items():
        for i, (into, out, kernel) in enumerate(layers):
            net |= draw.conv(f"{stage}.{i}.conv", into, out, kernel) | draw.norm(f"{stage}.{i}.bn", out)
    plain = {
        "toplayer": (32, 32, 1),
        "lat1": (16, 32, 1),
        "lat0": (8, 32, 1),
        "smooth1": (32, 16, 3),
        "smooth0": (32, 8, 3),
    }
    for name, (into, out, kernel) in plain.items():
        net |= draw.conv(name, into, out, kernel) | {f"{name}.bias": draw.normal(out, sd=0.1)}
    return net


def _sdf_network(draw: _Draw) -> Network:
    net = draw.conv("compress_layer.conv", 56, 16, 3) | draw.norm("compress_layer.bn", 16)
    blocks = {
        "conv0": (32, 16),
        "conv1": (16, 16),
        "conv2": (16, 16),
        "conv3": (16, 32),
        "conv4": (32, 32),
        "conv5": (32, 64),
        "conv6": (64, 64),
        "conv7": (64, 32),
        "conv9": (32, 16),
        "conv11": (16, 16),
    }
    for name, (into, out) in blocks.items():
        unit = f"sparse_costreg_net.{name}.net"
        net[f"{unit}.0.kernel"] = draw.normal(27, into, out, sd=math.sqrt(1 / (27 * into)))
        net |= draw.norm(f"{unit}.1", out, scale=0.35 if name in ("conv0", "conv11") else 1.0)

    first = torch.cat([draw.normal(128, 3, sd=math.sqrt(2 / 128)), draw.normal(128, 36, sd=0.01)], dim=1)
    second = torch.cat([draw.normal(128, 128, sd=math.sqrt(2 / 128)), draw.normal(128, 16, sd=0.03)], dim=1)
    third = torch.cat([draw.normal(128, 128, sd=0.1), draw.normal(128, 16, sd=0.1)], dim=1)
    third[0, :128] = math.sqrt(math.pi / 144) + draw.normal(128, sd=1e-3)
    biases = [draw.normal(128, sd=0.003), draw.normal(128, sd=0.003), draw.normal(128, sd=0.1)]
    biases[2][0] = -RADIUS
    for i, (weight, bias) in enumerate(zip((first, second, third), biases, strict=True)):
        stretch = draw.uniform(128, 1, low=0.5, high=2.0)
        net |= {
            f"sdf_layer.lin{i}.bias": bias,
            f"sdf_layer.lin{i}.weight_g": weight.norm(dim=1, keepdim=True),
            f"sdf_layer.lin{i}.weight_v": weight * stretch,
        }
    return net


def _rendering_network(draw: _Draw) -> Network:
    net: Network = {"s": torch.tensor(-0.45)}
    layers = {
        "ray_dir_fc.0": (4, 16),
        "ray_dir_fc.2": (16, 59),
        "base_fc.0": (193, 64),
        "base_fc.2": (64, 32),
        "vis_fc.0": (32, 32),
        "vis_fc.2": (32, 33),
        "vis_fc2.0": (32, 32),
        "vis_fc2.2": (32, 1),
        "rgb_fc.0": (37, 16),
        "rgb_fc.2": (16, 8),
        "rgb_fc.4": (8, 1),
    }
    for name, (into, out) in layers.items():
        net |= draw.affine(name, into, out)
    return net
