"""Unwraps one mesh with xatlas: a program of its own, since nothing else can stop it.

Reads an .npz (positions, indices, resolution, padding, seconds) from standard input and writes one (source, faces,
position, size, charts, utilisation) to standard output. Imports nothing of the package, so that it starts at once.
"""

import io
import signal
import sys

import numpy as np
import xatlas


def main() -> None:
    given = np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
    if hasattr(signal, "setitimer"):  # should the parent be gone, this ends all the same
        signal.setitimer(signal.ITIMER_REAL, float(given["seconds"]))
    atlas = xatlas.Atlas()
    atlas.add_mesh(given["positions"], given["indices"])
    pack = xatlas.PackOptions()
    pack.resolution, pack.padding, pack.bilinear = int(given["resolution"]), int(given["padding"]), True
    atlas.generate(xatlas.ChartOptions(), pack)
    source, faces, uv = atlas[0]
    extent = np.array([atlas.width, atlas.height], np.float32)
    result = io.BytesIO()
    np.savez(
        result, source=source, faces=faces, position=uv * extent,
        size=np.array([atlas.width, atlas.height, atlas.atlas_count]), charts=atlas.chart_count,
        utilisation=atlas.utilization,
    )  # fmt: skip
    sys.stdout.buffer.write(result.getvalue())


if __name__ == "__main__":
    main()
