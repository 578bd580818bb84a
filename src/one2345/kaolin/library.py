"""Is kaolin here, is it the real one, and if not, what to do about it."""

from __future__ import annotations

import functools
import importlib.metadata
from dataclasses import dataclass
from typing import Any

import torch

from one2345.errors import InputError

# What NVIDIA has released: wheels of 0.18.0 are for these versions of torch, its source takes those up to the last.
RELEASE = "0.18.0"
WHEELS = ("2.5.1", "2.6.0", "2.7.0", "2.7.1", "2.8.0")
LAST_CUDA = "12.8"
NEWEST_TORCH = (2, 12, 1)
INDEX = "https://nvidia-kaolin.s3.us-east-2.amazonaws.com"
SOURCE = "git+https://github.com/NVIDIAGameWorks/kaolin"
PLACEHOLDERS = ("0.0", "0.1")


@dataclass(frozen=True)
class Status:
    """usable: the real kaolin was imported. version, None where unknown. problem: one line that says what is
    wrong and how to mend it, None where nothing is."""

    usable: bool
    version: str | None
    problem: str | None


@functools.cache
def status() -> Status:
    """What `import kaolin` gives, found out once: the library, nothing, PyPI's placeholder or a broken build."""
    try:
        # One import per part in use: the placeholder, or a folder of that name, has none of them.
        import kaolin  # pyright: ignore[reportMissingImports]
        import kaolin.metrics.pointcloud  # pyright: ignore[reportMissingImports]
        import kaolin.metrics.voxelgrid  # pyright: ignore[reportMissingImports]
        import kaolin.ops.mesh  # pyright: ignore[reportMissingImports]
        import kaolin.render.camera  # pyright: ignore[reportMissingImports] # noqa: F401
    except (
        ImportError,
        OSError,
        RuntimeError,
        AttributeError,
    ) as error:  # missing parts, other torch, no libcudart
        return Status(False, _version(), _problem(error))
    return Status(True, _version(), None)


def require() -> Any:
    """The kaolin module; InputError, with the line that installs it, where it is not usable."""
    found = status()
    if not found.usable:
        raise InputError(found.problem or "kaolin is not usable")
    import kaolin  # pyright: ignore[reportMissingImports]

    return kaolin


def available(device: torch.device | str) -> bool:
    """Whether kaolin's point metrics run on `device`: that is CUDA, and kaolin is there and built for it."""
    if torch.device(device).type != "cuda" or not torch.cuda.is_available():
        return False
    return status().usable and _has_kernels()


@functools.cache
def _has_kernels() -> bool:
    """Whether this kaolin was built with CUDA: a build for CPU imports all the same."""
    point = torch.zeros(1, 1, 3, device="cuda")
    try:
        require().metrics.pointcloud.sided_distance(point, point)
    except RuntimeError:
        return False
    return True


def install_advice(torch_version: str | None = None, cuda: str | None = None) -> str:
    """How to install kaolin beside a torch (default: this one), as NVIDIA's manual has it.

    torch_version: as `torch.__version__`; cuda: as `torch.version.cuda`, None for a build without. Where no
    wheel fits, the text says so and gives what does.
    """
    if torch_version is None:
        torch_version, cuda = torch.__version__, torch.version.cuda
    base = torch_version.partition("+")[0]
    if base in WHEELS:
        return f"{_line(base, cuda)} (all wheels: {INDEX}/index.html)"
    said = f"NVIDIA has no wheel of kaolin {RELEASE} for torch {base}, only for {', '.join(WHEELS)}"
    if _numbers(WHEELS[0]) <= _numbers(base) <= NEWEST_TORCH:
        build = f"pip install --no-build-isolation {SOURCE}@v{RELEASE}"
        return f"{said}; build it: {build} (newer wheels: {INDEX}/index.html)"
    newest = ".".join(map(str, NEWEST_TORCH))
    return (
        f"{said}, and its source takes torch {WHEELS[0]} to {newest}; use an environment with torch {WHEELS[-1]} and "
        f"{_line(WHEELS[-1], cuda and LAST_CUDA)} (newer wheels: {INDEX}/index.html)"
    )


def _line(torch_version: str, cuda: str | None) -> str:
    tag = f"cu{cuda.replace('.', '')}" if cuda else "cpu"
    return f"pip install kaolin=={RELEASE} -f {INDEX}/torch-{torch_version}_{tag}.html"


def _numbers(version: str) -> tuple[int, ...]:
    """(2, 7, 1) of `2.7.1`, `2.7.1rc2` or `2.8.0a0`."""
    digits = [part[: len(part) - len(part.lstrip("0123456789"))] for part in version.split(".")]
    return tuple(int(d) for d in digits if d)[:3]


def _version() -> str | None:
    try:
        return importlib.metadata.version("kaolin")
    except importlib.metadata.PackageNotFoundError:
        return None


def _problem(error: BaseException) -> str:
    """One line on a failed import."""
    missing = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
    version = _version()
    named = f"kaolin {version}" if version else "kaolin"
    if missing == "kaolin":
        return f"kaolin is not installed (it is optional): {install_advice()}"
    if "placeholder" in str(error) or version in PLACEHOLDERS:
        return (
            f"the {named} that is installed is PyPI's empty placeholder, not the library: "
            f"pip uninstall -y kaolin; then {install_advice()}"
        )
    if missing.startswith("kaolin."):
        return (
            f"the {named} that is found has no {missing}: it is too old, an empty placeholder, or a folder of that "
            f"name that hides the library; remove it, then {install_advice()}"
        )
    if missing:
        return f"{named} needs {missing}, which is not installed: pip install {missing.partition('.')[0]}"
    text = " ".join(str(error).split())
    return f"{named} cannot be imported ({text}), as when it was built for another torch; anew: {install_advice()}"
