"""A folder of posed photographs, whoever made it, as posed views in our world."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from one2345.errors import InputError
from one2345.geometry import FOCAL_256, OBJECT_EDGE, RADIUS, Cameras

from ..posed_views import PosedViews
from ..reader import only_object
from .colmap import find_model, read_colmap
from .nerf import FILES, read_nerf
from .normalisation import Normalisation, normalise, parse_up, up_of_cameras, upright
from .photos import crop_like_standard, load_photo
from .published import find_poses, read_published
from .shots import Shot

KNOWN = (
    "our own format (object.json, or dataset.json with one object), NeRF's transforms.json, a COLMAP text model "
    "(cameras.txt and images.txt), or an object of the published training data (view_*.png and its pose file)"
)
FAR = 1.35
"""Ratio of distances from which photographs count as taken unlike the training views."""


@dataclass(frozen=True)
class PosedFolder:
    """views: PosedViews in our world. names: the v pictures' names. normalisation: from the layout's world to ours.
    facts: layout, number of views, where masks came from, how up was found, distances. warnings: sentences."""

    views: PosedViews
    names: tuple[str, ...]
    normalisation: Normalisation
    facts: Mapping[str, Any]
    warnings: tuple[str, ...]


def read_posed(path: str | Path, *, size: int = 256, up: str | Sequence[float] | None = None) -> PosedFolder:
    """Read a folder (or its transforms.json, object.json, dataset.json, images.txt) of posed pictures.

    Photographs are moved into our world (z up, the object's visual hull centred, its longest edge 0.8; the
    azimuth stays) and cropped to `size` px so that the object appears as in a standard view, each with its own
    K. Our own format and the published training data are returned as they are. up: which way is up in the
    layout's world, an axis name or three numbers (default: z for transforms.json, found from the cameras for
    COLMAP). Pictures in such a folder are untrusted: nothing outside it is read.

    Raises InputError, one line that names the file and the frame: nothing known here, paths that lead out,
    missing or damaged pictures, poses that are none, sizes that disagree, no mask, masks that don't fit.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: there is no such folder or file of posed pictures")
    if size < 16:
        raise InputError(f"size={size}: posed pictures need at least 16 px")
    folder = path if path.is_dir() else path.parent
    own = _own(path, folder)
    if own is not None:
        return _as_is(own, f"{path}", "our own format", {})
    transforms = (
        path if path.suffix == ".json" else next((folder / f for f in FILES if (folder / f).is_file()), None)
    )
    if transforms is not None:
        return _photographs(read_nerf(transforms), transforms, "NeRF transforms", size, up or "z", folder)
    model = find_model(folder)
    if model is not None:
        return _photographs(read_colmap(model, folder), model, "COLMAP text model", size, up, folder)
    poses = find_poses(folder)
    if poses is not None:
        views, facts = read_published(folder, poses)
        return _as_is(views, f"{folder}", "published One-2-3-45 training data", facts)
    raise InputError(f"{path}: no posed pictures of a known layout; known: {KNOWN}")


def _own(path: Path, folder: Path) -> PosedViews | None:
    if path.is_file() and path.name not in ("object.json", "dataset.json"):
        return None
    record = only_object(folder)
    return None if record is None else record.views()


def _as_is(views: PosedViews, name: str, layout: str, facts: Mapping[str, Any]) -> PosedFolder:
    return PosedFolder(
        views=views,
        names=views.names,
        normalisation=Normalisation(matrix=np.eye(4), words="as it is, already in our world"),
        facts={"path": name, "layout": layout, "views": len(views), **facts},
        warnings=(),
    )


def _photographs(
    shots: list[Shot], source: Path, layout: str, size: int, up: str | Sequence[float] | None, folder: Path
) -> PosedFolder:
    photos = [load_photo(shot, folder) for shot in shots]
    c2w = np.stack([shot.c2w for shot in shots])
    K = np.stack([photo.K for photo in photos])
    try:
        up_vector = up_of_cameras(c2w) if up is None else parse_up(up)
        normalisation, tolerance = normalise(
            K, c2w, [p.mask for p in photos], [p.box for p in photos], upright(up_vector)
        )
        poses = normalisation.cameras(c2w)
        depth = -(poses[:, :3, 2] * poses[:, :3, 3]).sum(1)
        distance = np.linalg.norm(poses[:, :3, 3], axis=1)
        _check_outside(depth, shots)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    images, masks, crops = [], [], []
    for photo, pose, z in zip(photos, poses, depth):
        seen = photo.K @ (pose[:3, :3].T @ -pose[:3, 3])
        image, mask, k = crop_like_standard(photo, seen[:2] / seen[2], float(z), size)
        images.append(image)
        masks.append(mask)
        crops.append(k)
    names = tuple(shot.name for shot in shots)
    views = PosedViews(
        images=torch.stack(images),
        masks=torch.stack(masks),
        cameras=Cameras(
            K=torch.from_numpy(np.stack(crops)).float(),
            c2w=torch.from_numpy(poses).float(),
            size=(size, size),
        ),
        names=names,
        roles=("stage1",) * len(names),
        parents=(None,) * len(names),
    )
    angles = np.degrees([2 * np.arctan(shot.size[1] / 2 / shot.K[0, 0]) for shot in shots])
    facts = {
        "path": str(source),
        "layout": layout,
        "views": len(shots),
        "masks": dict(sorted(Counter(photo.mask_from for photo in photos).items())),
        "up": [round(float(x), 4) for x in up_vector],
        "up_from": "the cameras" if up is None else "given or the layout's own",
        "undistorted": sum(bool(shot.distortion) for shot in shots),
        "distance": [round(float(x), 4) for x in (distance.min(), np.median(distance), distance.max())],
        "field_of_view": [round(float(x), 2) for x in (angles.min(), angles.max())],
        "normalisation": normalisation.words,
    }
    warnings = _warnings(depth, angles, crops, size, tolerance, _cut_off(photos, shots))
    return PosedFolder(views=views, names=names, normalisation=normalisation, facts=facts, warnings=warnings)


def _cut_off(photos: Sequence[Any], shots: Sequence[Shot]) -> list[str]:
    """Names of the shots whose object touches the picture's edge."""
    cut = []
    for photo, shot in zip(photos, shots):
        solid = photo.rgba[..., 3] > 127
        if max(solid[0].sum(), solid[-1].sum(), solid[:, 0].sum(), solid[:, -1].sum()) >= 3:
            cut.append(shot.name)
    return cut


def _check_outside(depth: np.ndarray, shots: Sequence[Shot]) -> None:
    for z, shot in zip(depth, shots):
        if z < 0.6 * OBJECT_EDGE:
            where = "inside the object" if z > 0 else "with its back to the object"
            raise InputError(
                f"{shot.name}: the camera is {where} ({z:.3g} from its middle along the optical axis, where the "
                f"object's longest edge is {OBJECT_EDGE})"
            )


def _warnings(
    depth: np.ndarray,
    angles: np.ndarray,
    crops: Sequence[np.ndarray],
    size: int,
    tolerance: float,
    cut: Sequence[str],
) -> tuple[str, ...]:
    notes = []
    middle = float(np.median(depth))
    if not 1 / FAR < middle / RADIUS < FAR:
        seen = float(np.median([np.degrees(2 * np.arctan(size / 2 / k[0, 0])) for k in crops]))
        standard = np.degrees(2 * np.arctan(128 / FOCAL_256))
        nearer = "nearer" if middle < RADIUS else "farther"
        notes.append(
            f"the photographs were taken from {nearer} than the training views: from {middle / OBJECT_EDGE:.2f} "
            f"object sizes rather than {RADIUS / OBJECT_EDGE:.2f}, so the object fills a field of view of "
            f"{seen:.1f} degrees rather than {standard:.1f} (the photographs' own: {angles.min():.1f} to "
            f"{angles.max():.1f}); the network has not seen such perspective"
        )
    if tolerance > 0.1:
        notes.append(
            "some masks and cameras disagree with the others: up to a quarter of the views was overruled"
        )
    if cut:
        shown = ", ".join(cut[:5]) + (", ..." if len(cut) > 5 else "")
        notes.append(f"the object is cut off by the picture's edge in {len(cut)} views ({shown})")
    return tuple(notes)
