"""Names and layouts of the released checkpoint, and those of `SparseNeus`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

NETWORKS = (
    "sdf_network_lod0",
    "rendering_network_lod0",
    "variance_network_lod0",
    "pyramid_feature_network",
)
"""The parts of a released checkpoint that make up the network."""

Convert = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Source:
    """Where a tensor of ours comes from: the network's name in the checkpoint, its key there, and its layout."""

    network: str
    key: str
    convert: Convert

    @property
    def name(self) -> str:
        return f"{self.network}/{self.key}" if self.key else self.network


def released_sources(own: Mapping[str, Tensor]) -> dict[str, Source]:
    """For every name of a `SparseNeus` state the place in the released checkpoint that it is read from."""
    return {name: _source(name) for name in own}


def kernel_to_dense(kernel: Tensor) -> Tensor:
    """Taps (27, in, out) of a sparse convolution to Conv3d's (out, in, 3, 3, 3), axes x, y, z.

    Tap (dz + 1) * 9 + (dy + 1) * 3 + (dx + 1) reads the site at offset (dx, dy, dz).
    """
    return kernel.reshape(3, 3, 3, *kernel.shape[1:]).permute(4, 3, 2, 1, 0).contiguous()


def kernel_to_transposed(kernel: Tensor) -> Tensor:
    """The same taps for ConvTranspose3d, (in, out, 3, 3, 3): they lead from the coarse site back."""
    return kernel_to_dense(kernel).transpose(0, 1).contiguous()


def _same(tensor: Tensor) -> Tensor:
    return tensor


_RENAMED = {
    "feature_net.top": "toplayer",
    "feature_net.lateral": "lat",
    "feature_net.smooth": "smooth",
    "blend_net.direction": "ray_dir_fc",
    "blend_net.base": "base_fc",
    "blend_net.visibility2": "vis_fc2",
    "blend_net.visibility": "vis_fc",
    "blend_net.logit": "rgb_fc",
    "volume_net.up3": "conv7",
    "volume_net.up2": "conv9",
    "volume_net.up1": "conv11",
}
_SDF, _FEATURES = "sdf_network_lod0", "pyramid_feature_network"
_BLENDING, _VARIANCE = "rendering_network_lod0", "variance_network_lod0"


def _source(name: str) -> Source:
    part, _, rest = name.partition(".")
    words = rest.split(".")
    if part == "feature_net":
        if words[0].startswith("conv"):
            return Source(_FEATURES, f"{words[0]}.{words[1]}.{_conv_or_norm(words[2])}.{words[3]}", _same)
        stem = next(new for old, new in _RENAMED.items() if name.startswith(old))
        level = words[0].removeprefix("top").removeprefix("lateral").removeprefix("smooth")
        return Source(_FEATURES, f"{stem}{level}.{words[1]}", _same)
    if part == "compress":
        return Source(_SDF, f"compress_layer.{_conv_or_norm(words[0])}.{words[1]}", _same)
    if part == "volume_net":
        unit = _RENAMED.get(f"{part}.{words[0]}", words[0])
        stem = f"sparse_costreg_net.{unit}.net"
        if words[1] == "conv":
            convert = kernel_to_transposed if words[0].startswith("up") else kernel_to_dense
            return Source(_SDF, f"{stem}.0.kernel", convert)
        return Source(_SDF, f"{stem}.1.{words[2]}", _same)
    if part == "sdf_net":
        layer = words[0].replace("layer", "lin")
        kinds = {"original0": "weight_g", "original1": "weight_v", "bias": "bias"}
        return Source(_SDF, f"sdf_layer.{layer}.{kinds[words[-1]]}", _same)
    if part == "blend_net":
        if words == ["sharpness"]:
            return Source(_BLENDING, "s", _same)
        return Source(_BLENDING, f"{_RENAMED[f'{part}.{words[0]}']}.{words[1]}.{words[2]}", _same)
    if name == "variance.v":
        return Source(_VARIANCE, "variance", _same)
    raise KeyError(name)


def _conv_or_norm(index: str) -> str:
    return {"0": "conv", "1": "bn"}[index]
