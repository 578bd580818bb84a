"""LPIPS: perceptual distance of pictures (Zhang et al., CVPR 2018, version 0.1), on trunks of plain torch.

Per view, the features of both pictures after each of five stages of a trunk trained on ImageNet are brought to
unit length along channels; squared differences are weighted by learned, non-negative weights per channel,
summed over channels, averaged over positions and summed over stages. The weights are the published ones: the
trunk's state dict as torchvision distributes it, and the linear layers that torchmetrics ships.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from one2345.errors import InputError
from one2345.hub import WeightsUnavailable, sha256

from .images import picture_pair
from .per_object import PerObjectMetric
from .published import PublishedFile, find_published, take_tensors

VIEWS_AT_ONCE = 2  # of 512 x 512 pixels VGG16 takes about 1 GB for two pairs
# Mean and deviation of ImageNet as the method states them for pictures in [-1, 1].
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)


@dataclass(frozen=True)
class Architecture:
    """A trunk as published. layers: (out channels, kernel, stride, padding) of a convolution with its ReLU, or
    (kernel, stride) of max pooling; stages end after the convolutions of `taps`. smallest: picture in pixels."""

    layers: Sequence[tuple[int, ...]]
    taps: Sequence[int]
    smallest: int
    file: PublishedFile


_POOL, _SITE = (2, 2), "https://download.pytorch.org/models/"
ARCHITECTURES = {
    # Simonyan and Zisserman, ICLR 2015, configuration D
    "vgg": Architecture(
        layers=[
            *[(64, 3, 1, 1)] * 2, _POOL,
            *[(128, 3, 1, 1)] * 2, _POOL,
            *[(256, 3, 1, 1)] * 3, _POOL,
            *[(512, 3, 1, 1)] * 3, _POOL,
            *[(512, 3, 1, 1)] * 3,
        ],
        taps=(2, 4, 7, 10, 13),
        smallest=16,
        file=PublishedFile("vgg16-397923af.pth", f"{_SITE}vgg16-397923af.pth", "397923af"),
    ),
    # Krizhevsky, arXiv:1404.5997, one column
    "alex": Architecture(
        layers=[(64, 11, 4, 2), (3, 2), (192, 5, 1, 2), (3, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1)],
        taps=(1, 2, 3, 4, 5),
        smallest=31,
        file=PublishedFile("alexnet-owt-7be5be79.pth", f"{_SITE}alexnet-owt-7be5be79.pth", "7be5be79"),
    ),
}  # fmt: skip


class LPIPSNetwork(nn.Module):
    """Trunk and linear layers; `features` is named as in the published files. Frozen."""

    shift: Tensor
    scale: Tensor

    def __init__(self, *, net: str) -> None:
        super().__init__()
        self.architecture = architecture(net)
        self.features = nn.Sequential()
        self.linear = nn.ParameterDict()
        channels, convolutions = 3, 0
        for layer in self.architecture.layers:
            if len(layer) == 2:
                self.features.append(nn.MaxPool2d(layer[0], stride=layer[1]))
                continue
            width, kernel, stride, padding = layer
            self.features.append(nn.Conv2d(channels, width, kernel, stride=stride, padding=padding))
            self.features.append(nn.ReLU(inplace=True))
            channels, convolutions = width, convolutions + 1
            if convolutions in self.architecture.taps:
                last = str(len(self.features) - 1)
                self.linear[last] = nn.Parameter(torch.ones(1, width, 1, 1) / width)
        self.register_buffer("shift", torch.tensor(SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE)[:, None, None], persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance (v,) of pictures (v, 3, h, w) in [0, 1]."""
        x = (torch.cat([a, b]) * 2 - 1 - self.shift) / self.scale
        total = x.new_zeros(len(a))
        for name, layer in self.features.named_children():
            x = layer(x)
            if name in self.linear:
                p, t = (x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)).chunk(2)
                total = total + ((p - t).square() * self.linear[name]).sum(1).mean((1, 2))
        return total


def architecture(net: str) -> Architecture:
    """Raises InputError for a name that is none of `ARCHITECTURES`."""
    if net not in ARCHITECTURES:
        raise InputError(f"lpips: {net!r} is unknown; it takes {' or '.join(ARCHITECTURES)}")
    return ARCHITECTURES[net]


def load_lpips(
    net: str = "vgg", *, trunk: Path | None = None, linear: Path | None = None, download: bool = False
) -> tuple[LPIPSNetwork, dict[str, Any]]:
    """The network with published weights, and what a report states about them.

    trunk: state dict of torchvision's VGG16 or AlexNet (its classifier is left out); None: the one in torch's
    hub folder, fetched where it is missing and `download` says so. linear: the linear layers; None: those in
    torchmetrics. Raises WeightsUnavailable for weights that are not here, InputError for a file given that is
    damaged or holds something else.
    """
    network = LPIPSNetwork(net=net)
    trunk_file, trunk_digest = find_published(network.architecture.file, given=trunk, download=download)
    prefix = "features."
    wanted = {prefix + name: tensor.shape for name, tensor in network.features.state_dict().items()}
    tensors, ignored = take_tensors(trunk_file, wanted)
    network.features.load_state_dict({name.removeprefix(prefix): t for name, t in tensors.items()})

    linear_file = linear or Path(str(files("torchmetrics"))) / f"functional/image/lpips_models/{net}.pth"
    if not linear_file.is_file():
        raise WeightsUnavailable(f"weights are not here: {linear_file} is no file")
    layers = {f"lin{i}.model.1.weight": weight for i, weight in enumerate(network.linear.values())}
    try:
        weights, _ = take_tensors(linear_file, {key: weight.shape for key, weight in layers.items()})
    except InputError as error:
        if linear is not None:
            raise
        raise WeightsUnavailable(f"this version of torchmetrics has other linear layers: {error}") from error
    for key, weight in layers.items():
        weight.copy_(weights[key])
    facts: dict[str, Any] = {
        "net": net,
        "trunk": trunk_file.name,
        "trunk_sha256": trunk_digest,
        "trunk_keys_ignored": ignored,
        "linear": linear_file.name,
        "linear_sha256": sha256(linear_file),
    }
    return network, facts


def lpips_distance(predicted: Tensor, true: Tensor, network: LPIPSNetwork) -> float:
    """Mean over views of the distance of pictures (v, 3, h, w) in [0, 1]; 0 for identical ones.

    Raises ValueError for pictures too small for the trunk, of different shapes, empty or not finite.
    """
    p, t = picture_pair(predicted, true)
    smallest = network.architecture.smallest
    if min(p.shape[-2:]) < smallest:
        size = f"{p.shape[-1]} x {p.shape[-2]}"
        raise ValueError(f"pictures of {size} pixels are too small for LPIPS: {smallest} at least")
    pairs = zip(p.split(VIEWS_AT_ONCE), t.split(VIEWS_AT_ONCE))
    place, kind = network.shift.device, network.shift.dtype
    with torch.inference_mode():
        views = [network(a.to(place, kind), b.to(place, kind)).cpu() for a, b in pairs]
    return float(torch.cat(views).double().mean())


class LPIPS(PerObjectMetric):
    """`lpips` of pictures (v, 3, h, w) in [0, 1], mean over views, then over objects."""

    higher_is_better = False

    def __init__(self, *, network: LPIPSNetwork, **kwargs: Any) -> None:
        super().__init__(("lpips",), **kwargs)
        self.network = network

    def update(self, object_id: str, predicted: Tensor, true: Tensor) -> None:
        self.add(object_id, [lpips_distance(predicted, true, self.network)])
