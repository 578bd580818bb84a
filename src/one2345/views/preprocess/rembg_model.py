"""The optional cut by rembg's u2net: where its file is looked for, and what to do where it isn't.

rembg's own default is another network with a non-commercial licence, so the model is always named.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from one2345.errors import InputError

MODEL = "u2net"
MODEL_SIZE = "176 MB"
CHOICES = (
    "give a picture with alpha, one before a plain background, or segment=none to take the whole picture "
    "as the object"
)


def model_places() -> tuple[Path, ...]:
    """Where the model file may lie, in rembg's order: U2NET_HOME, else REMBG_HOME or its home, else ~/.u2net."""
    file = f"{MODEL}.onnx"
    data = os.environ.get("XDG_DATA_HOME")
    flat = os.environ.get("U2NET_HOME") or os.path.join(data or "~", ".u2net")
    root = os.environ.get("U2NET_HOME") or os.environ.get("REMBG_HOME")
    root = root or (os.path.join(data, "rembg") if data else "~/.rembg")
    return Path(root).expanduser() / "models" / MODEL / file, Path(flat).expanduser() / file


def missing_part() -> str | None:
    """What keeps rembg from running here, in words, or None where it can."""
    if any(find_spec(module) is None for module in ("rembg", "onnxruntime")):
        return "rembg is not installed (pip install 'one2345[preprocess]')"
    if not any(place.is_file() for place in model_places()):
        nested, flat = model_places()
        home = "set" if os.environ.get("U2NET_HOME") else "not set"
        return (
            f"rembg's model file {MODEL}.onnx ({MODEL_SIZE}) is missing, looked for as {flat} and {nested} "
            f"(U2NET_HOME is {home}; download=True fetches it)"
        )
    return None


def cut_with_rembg(colour: NDArray[np.float32], *, download: bool = False) -> NDArray[np.float32]:
    """Alpha (h, w) in [0, 1] of the object in colour (h, w, 3).

    Raises InputError with the choices left when rembg or its model file is missing and `download` is False,
    or when the model can't be fetched or run.
    """
    missing = missing_part()
    if missing is not None and not (download and "model file" in missing):
        raise InputError(f"segment=rembg: {missing}; else {CHOICES}")
    image = Image.fromarray(np.rint(colour * 255).astype(np.uint8))
    try:
        from rembg import new_session, remove  # type: ignore[import-not-found]

        mask = remove(image, session=new_session(MODEL), only_mask=True)
    except SystemExit:  # rembg ends the program where it finds no back end
        raise InputError(f"segment=rembg: rembg found no usable onnxruntime; {CHOICES}") from None
    except Exception as error:
        text = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise InputError(
            f"segment=rembg: the model can't be fetched or run ({text}); else {CHOICES}"
        ) from error
    return np.asarray(mask, dtype=np.float32) / np.float32(255)
