"""Maps of the source views in the form that colours are sampled from, beside a convolution of the same maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def colour_maps(images: Tensor, features: Tensor) -> Tensor:
    """Images (n, 3, h, w) and features (n, f, h, w) as (n, 3 + f, h, w), all channels of a pixel side by side.

    One row of memory per pixel is what sampling a few positions wants; the result is channels-last.
    """
    last = torch.channels_last
    features = features.to(images.dtype)
    return torch.cat([images.contiguous(memory_format=last), features.contiguous(memory_format=last)], 1)


def fuse(images: Tensor, levels: Sequence[Tensor], kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Colour maps of images and a pyramid, and the pyramid's 3x3 convolution, one view at a time.

    images: (v, 3, h, w). levels: (v, c_l, h_l, w_l), enlarged to (h, w) with their corners kept (bilinear).
    kernel: (o, f, 3, 3), f the channels of all levels. Returns maps (v, 3 + f, h, w), channels-last, of the images'
    type, and the convolution of the enlarged levels (v, o, h, w), zero beyond the border, of the levels' type.
    The enlarged levels exist once, as part of the maps; their gradient from the convolution for one view at a time.
    """
    return _Fuse.apply(images, kernel, *levels)


class _Fuse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, kernel: Tensor, *levels: Tensor) -> tuple[Tensor, Tensor]:
        v, rgb, h, w = images.shape
        table = images.new_empty(v, h, w, rgb + kernel.shape[1])
        maps = table.permute(0, 3, 1, 2)
        maps[:, :rgb] = images
        convolved = levels[0].new_empty(v, h, w, len(kernel)).permute(0, 3, 1, 2)
        taps = kernel.to(levels[0].dtype).contiguous(memory_format=torch.channels_last)
        for view in range(v):
            enlarged = enlarge([level[view : view + 1] for level in levels], (h, w))
            maps[view, rgb:] = enlarged[0]
            convolved[view] = F.conv2d(enlarged, taps, padding=1)[0]
        ctx.save_for_backward(kernel, maps)
        ctx.levels = [(level.shape[1:], level.dtype) for level in levels]
        return maps, convolved

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        of_maps, of_convolved = gradients
        kernel, maps = ctx.saved_tensors
        v, _, h, w = maps.shape
        features = kernel.shape[1]
        rgb = maps.shape[1] - features
        dtype = ctx.levels[0][1]
        taps = kernel.to(dtype).contiguous(memory_format=torch.channels_last)
        of_kernel = torch.zeros_like(kernel)
        of_levels = [
            maps.new_empty(v, *shape[1:], shape[0], dtype=kind).permute(0, 3, 1, 2)
            for shape, kind in ctx.levels
        ]
        for view in range(v):
            enlarged = maps[view : view + 1, rgb:].to(dtype).contiguous(memory_format=torch.channels_last)
            upstream = of_convolved[view : view + 1].contiguous(memory_format=torch.channels_last)
            of_enlarged, of_taps, _ = torch.ops.aten.convolution_backward(
                upstream, enlarged, taps, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False]
            )
            of_kernel += of_taps
            of_enlarged = of_enlarged + of_maps[view : view + 1, rgb:]
            first = 0
            for result, (shape, kind) in zip(of_levels, ctx.levels, strict=True):
                part = of_enlarged[:, first : first + shape[0]].to(kind)
                first += shape[0]
                if tuple(shape[1:]) != (h, w):
                    part = torch.ops.aten.upsample_bilinear2d_backward(
                        part.contiguous(memory_format=torch.channels_last), [h, w], [1, *shape], True
                    )
                result[view] = part[0]
        return of_maps[:, :rgb] if ctx.needs_input_grad[0] else None, of_kernel, *of_levels


def enlarge(levels: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Levels (v, c_l, h_l, w_l) at the given height and width, channels side by side: (v, f, h, w), channels-last."""
    parts = [
        level if level.shape[-2:] == size
        else F.interpolate(level, size=size, mode="bilinear", align_corners=True)
        for level in levels
    ]  # fmt: skip
    return torch.cat(parts, 1).contiguous(memory_format=torch.channels_last)
