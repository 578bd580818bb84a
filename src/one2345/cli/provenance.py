"""What numbers came from: digests of the code, the configuration and the objects."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import one2345

# Where and how a run goes, and what stands beside its numbers, is no part of what it computes; what the meshes
# are, their own digests tell.
_NEUTRAL = ("run", "name", "out", "device", "truth", "meshes")
_NEUTRAL_WITHIN = {
    "evaluate": ("cache", "pictures", "meshes", "download", "resume"),
    "appearance": ("device", "download"),
}
_LIBRARIES = ("torch", "numpy", "numba", "scipy", "libigl", "embreex", "trimesh")


def code_version() -> str:
    """`0.1.0+1a2b3c4d`: the version, and a digest of the package's own source files."""
    root = Path(one2345.__file__).parent
    digest = hashlib.blake2b(digest_size=4)
    sources = (file for file in root.rglob("*") if file.suffix in (".py", ".yaml", ".csv", ".json"))
    for file in sorted(sources):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return f"{one2345.__version__}+{digest.hexdigest()}"


def libraries() -> dict[str, str]:
    """Versions of what the numbers are computed with."""
    return {name: version(name) for name in _LIBRARIES}


def file_hash(path: Path) -> str:
    """Ten hexadecimal digits of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=5)).hexdigest()


def config_hash(config: Mapping[str, Any]) -> str:
    """Ten hexadecimal digits of a plain configuration, less where it runs."""
    kept = {
        k: {i: x for i, x in v.items() if i not in _NEUTRAL_WITHIN[k]} if k in _NEUTRAL_WITHIN else v
        for k, v in config.items()
        if k not in _NEUTRAL
    }
    text = json.dumps(kept, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=5).hexdigest()


def objects_hash(objects: Iterable[tuple[str, str | None]]) -> str:
    """Ten hexadecimal digits of (id, digest of what the object is made from) in order of the ids."""
    text = json.dumps(sorted([id, fingerprint] for id, fingerprint in objects))
    return hashlib.blake2b(text.encode(), digest_size=5).hexdigest()
