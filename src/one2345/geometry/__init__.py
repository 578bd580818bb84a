"""Cameras, rays, boxes, meshes and view plans: the language of every other room."""

from .boxes import Box, evaluation_box
from .cameras import (
    FOCAL_256,
    OBJECT_EDGE,
    RADIUS,
    Cameras,
    intrinsics,
    look_at,
    orbit,
    orbit_cameras,
    raised,
    spherical,
)
from .coherence import SilhouetteGaps, silhouette_gaps
from .conventions import (
    Y_UP_FROM_Z_UP,
    c2w_from_colmap,
    colmap_from_c2w,
    intrinsics_from_nerf,
    opencv_from_opengl,
    opengl_from_opencv,
    y_up_from_z_up,
    z_up_from_y_up,
    zero123_pose,
)
from .mesh import Mesh, affine, normalise_transform
from .plans import PlannedView, RingRule, ViewPlan, load_plan
from .projection import hold_in_frame, in_frame, project, sample_views
from .rays import Rays, camera_rays, pixel_centres, pixel_rays, z_per_t
from .similarity import Similarity
from .visual_hull import (
    HullEvidence,
    cone_distances,
    hull_distances,
    hull_distances_and_gradients,
    hull_evidence,
    hull_occupancy,
    hull_sdf,
    mask_distance,
)

__all__ = [
    "FOCAL_256",
    "OBJECT_EDGE",
    "RADIUS",
    "Y_UP_FROM_Z_UP",
    "Box",
    "Cameras",
    "HullEvidence",
    "Mesh",
    "PlannedView",
    "Rays",
    "RingRule",
    "SilhouetteGaps",
    "Similarity",
    "ViewPlan",
    "affine",
    "c2w_from_colmap",
    "camera_rays",
    "colmap_from_c2w",
    "cone_distances",
    "evaluation_box",
    "hold_in_frame",
    "hull_distances",
    "hull_distances_and_gradients",
    "hull_evidence",
    "hull_occupancy",
    "hull_sdf",
    "in_frame",
    "intrinsics",
    "intrinsics_from_nerf",
    "load_plan",
    "look_at",
    "mask_distance",
    "normalise_transform",
    "opencv_from_opengl",
    "opengl_from_opencv",
    "orbit",
    "orbit_cameras",
    "pixel_centres",
    "pixel_rays",
    "project",
    "raised",
    "sample_views",
    "silhouette_gaps",
    "spherical",
    "y_up_from_z_up",
    "z_per_t",
    "z_up_from_y_up",
    "zero123_pose",
]
