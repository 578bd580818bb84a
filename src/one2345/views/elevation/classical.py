"""Matching without any weights: SIFT descriptors and tracked corners, from OpenCV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from one2345.errors import InputError

from .matching import Matches, check_pictures, pairs

Array = NDArray[Any]
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class _Features:
    points: Array  # (k, 2) pixels of the enlarged picture, pixel centres at integers
    descriptors: Array  # (k, 128), unit length


class ClassicalMatcher:
    """SIFT (Lowe 2004) with RootSIFT descriptors (Arandjelović and Zisserman 2012), and corners tracked by
    pyramidal Lucas-Kanade both ways, joined; pairs then pass an epipolar check.

    working_size: pictures are enlarged to about this edge before features are sought, since an object of 64 to
    256 px has few at its own size. ratio: of the best to the second-best descriptor distance, at most. reach:
    longest motion that is believed, as a fraction of the picture's edge. corners: of each picture that are
    tracked; 0 for SIFT alone. corner_confidence: that of a tracked corner. epipolar: largest distance in pixels
    of 256 from the epipolar line of the best fundamental matrix (RANSAC); 0 for no check. rim: pixels of 256 next to
    the outline where no feature is taken: what is seen there slides over the object as the camera moves.
    """

    def __init__(
        self,
        *,
        working_size: int = 512,
        ratio: float = 0.9,
        reach: float = 0.3,
        corners: int = 300,
        corner_confidence: float = 0.3,
        epipolar: float = 3.0,
        rim: float = 4.0,
    ) -> None:
        if working_size < 32 or corners < 0:
            raise InputError(
                f"ClassicalMatcher: working_size={working_size}, corners={corners}; expected at least 32 and 0"
            )
        if not (0 < ratio <= 1 and reach > 0 and 0 <= corner_confidence <= 1 and epipolar >= 0 and rim >= 0):
            raise InputError(
                f"ClassicalMatcher: ratio={ratio}, reach={reach}, corner_confidence={corner_confidence}, "
                f"epipolar={epipolar}, rim={rim}; expected ratio in (0, 1], confidence in [0, 1], the others >= 0"
            )
        self.working_size = working_size
        self.ratio = ratio
        self.reach = reach
        self.corners = corners
        self.corner_confidence = corner_confidence
        self.epipolar = epipolar
        self.rim = rim

    def __call__(self, images: Tensor, masks: Tensor) -> Sequence[Matches]:
        check_pictures(images, masks)
        import cv2

        edge = max(images.shape[-2:])
        scale = max(1, round(self.working_size / edge))
        greys = _greys(images)
        inside = [_away_from_outline(m > 0.5, self.rim * edge / 256) for m in masks.cpu().numpy()]
        features = [self._features(cv2, g, m, scale) for g, m in zip(greys, inside)]
        result = []
        for a, b in pairs(len(images)):
            first, second, confidence = self._nearest(features[a], features[b], scale * edge * self.reach)
            found = [((first + 0.5) / scale, (second + 0.5) / scale, confidence)]
            if self.corners:
                found.append(self._tracked(cv2, greys[a], greys[b], inside[a]))
                backward = self._tracked(cv2, greys[b], greys[a], inside[b])
                found.append((backward[1], backward[0], backward[2]))
            first, second, confidence = (np.concatenate(parts) for parts in zip(*found))
            good = self._on_lines(cv2, first, second, edge)
            tensors = (
                torch.from_numpy(np.ascontiguousarray(x[good])).double() for x in (first, second, confidence)
            )
            result.append(Matches(a, b, *tensors))
        return result

    def _features(self, cv2: Any, grey: Array, mask: Array, scale: int) -> _Features:
        if not mask.any():
            return _Features(np.zeros((0, 2)), np.zeros((0, 128), np.float32))
        size = (grey.shape[1] * scale, grey.shape[0] * scale)
        large = cv2.resize(grey, size, interpolation=cv2.INTER_CUBIC)
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
        sift = cv2.SIFT_create(
            nfeatures=2000, contrastThreshold=0.01, edgeThreshold=20, enable_precise_upscale=True
        )
        points, descriptors = sift.detectAndCompute(large, mask)
        if descriptors is None:
            return _Features(np.zeros((0, 2)), np.zeros((0, 128), np.float32))
        root = np.sqrt(descriptors / np.maximum(descriptors.sum(1, keepdims=True), 1e-9))
        return _Features(np.array([p.pt for p in points], np.float64), root)

    def _nearest(self, a: _Features, b: _Features, reach: float) -> tuple[Array, Array, Array]:
        """Mutual nearest descriptors (m, 2), (m, 2) that stand out among those elsewhere, and by how much (m,)."""
        if not len(a.points) or not len(b.points):
            return np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0)
        distance = np.sqrt(np.maximum(2.0 - 2.0 * (a.descriptors @ b.descriptors.T), 0.0))
        far = np.square(a.points[:, None] - b.points[None]).sum(-1) > reach * reach
        distance = np.where(far, 10.0, distance)
        nearest = distance.argmin(1)
        rows = np.arange(len(a.points))
        best = distance[rows, nearest]
        same = np.square(b.points[None] - b.points[nearest][:, None]).sum(-1) < 3.0**2
        second = np.minimum(
            np.where(same, 10.0, distance).min(1), 1.2
        )  # unrelated descriptors differ by about 1.2
        kept = (distance.argmin(0)[nearest] == rows) & (best < self.ratio * second)
        return a.points[kept], b.points[nearest[kept]], 1.0 - best[kept] / second[kept]

    def _tracked(self, cv2: Any, source: Array, target: Array, mask: Array) -> tuple[Array, Array, Array]:
        """Corners of one picture found again in another: (m, 2), (m, 2), (m,), pixel centres at +0.5."""
        window = max(7, round(15 * max(source.shape) / 256)) | 1
        corners = cv2.goodFeaturesToTrack(source, self.corners, 0.005, 3, mask=mask, blockSize=5)
        if corners is None:
            return np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0)
        settings = {
            "winSize": (window, window),
            "maxLevel": 4,
            "criteria": (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.01),
        }
        there, seen, _ = cv2.calcOpticalFlowPyrLK(source, target, corners, None, **settings)
        back, seen_back, _ = cv2.calcOpticalFlowPyrLK(target, source, there, None, **settings)
        returns = np.linalg.norm(corners - back, axis=-1).ravel() < 0.7
        near = np.linalg.norm(corners - there, axis=-1).ravel() < self.reach * max(source.shape)
        kept = (seen.ravel() > 0) & (seen_back.ravel() > 0) & returns & near
        confidence = np.full(int(kept.sum()), self.corner_confidence)
        return corners[kept, 0].astype(np.float64) + 0.5, there[kept, 0].astype(np.float64) + 0.5, confidence

    def _on_lines(self, cv2: Any, first: Array, second: Array, edge: int) -> Array:
        """(m,) which matches agree with one epipolar geometry; all of them where there are too few to tell."""
        every = np.ones(len(first), bool)
        if not self.epipolar or len(first) < 16:
            return every
        threshold = self.epipolar * edge / 256
        _, kept = cv2.findFundamentalMat(first, second, cv2.FM_RANSAC, threshold, 0.999)
        return every if kept is None else kept.ravel() > 0


def _greys(images: Tensor) -> list[Array]:
    """Lightness (h, w) uint8 of each picture (n, 3, h, w)."""
    luma = (images.detach().cpu().double() * torch.tensor(_LUMA, dtype=torch.float64)[:, None, None]).sum(1)
    return list((luma.clamp(0, 1) * 255).round().to(torch.uint8).numpy())


def _away_from_outline(inside: Array, rim: float) -> Array:
    """(h, w) uint8, 255 where the object (h, w) reaches at least `rim` pixels in every direction."""
    depth = np.asarray(distance_transform_edt(np.pad(inside, 1)))[1:-1, 1:-1]
    return (depth > rim).astype(np.uint8) * 255
