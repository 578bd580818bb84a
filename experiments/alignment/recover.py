"""How often known placements of scans are found again: python experiments/alignment/recover.py SCANS [CASES].

SCANS: a folder of meshes; every second of the first 20 by id is placed CASES (20) times: any yaw, size 0.5 to 2, shift
up to half an edge per axis. Prediction and truth are sampled apart, 20,000 points each. Prints a line per object.
"""

import sys
from pathlib import Path

import numpy as np

from one2345.data.sources import open_meshes
from one2345.evaluation import Aligner, sample_surface
from one2345.geometry import normalise_transform
from one2345.seeding import numpy_rng

ALIGNER = Aligner(method="yaw_scale_icp", scales=(0.8, 0.9, 1.0, 1.1, 1.25))
POINTS = 20_000


def main(scans: Path, cases: int = 20) -> None:
    """Found: within 1 degree and 1 % of the size. Ambiguous: several yaws were named as equally good."""
    source = open_meshes(scans)
    for id in source.ids()[::2][:10]:
        mesh = source.mesh(id)
        mesh = mesh.transformed(normalise_transform(mesh, 1.0))
        true = sample_surface(mesh, POINTS, seed=0, object_id=id, of="true surface")
        found = ambiguous = 0
        for case in range(cases):
            rng = numpy_rng(0, "case", id, case)
            yaw = np.deg2rad(rng.uniform(0, 360))
            placement = np.eye(4)
            placement[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
            placement[:3, :3] *= np.exp(rng.uniform(np.log(0.5), np.log(2)))
            placement[:3, 3] = rng.uniform(-0.5, 0.5, 3)
            moved = sample_surface(mesh.transformed(placement), POINTS, seed=case + 1, object_id=id)
            alignment = ALIGNER(moved, true)
            rest = alignment.matrix @ placement
            size = np.linalg.det(rest[:3, :3]) ** (1 / 3)
            angle = np.degrees(np.arccos(np.clip((np.trace(rest[:3, :3]) / size - 1) / 2, -1, 1)))
            found += bool(angle < 1 and abs(size - 1) < 0.01)
            ambiguous += bool(alignment.ambiguous_yaws)
        print(f"{id}: found {found} of {cases}, ambiguous {ambiguous}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
