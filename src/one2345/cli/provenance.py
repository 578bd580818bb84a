"""What numbers came from: digests of the code, the configuration and the objects."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import one2345

# Where and how a run goes is no part of what it computes.
_NEUTRAL = ("run", "name", "out", "device")


def code_version() -> str:
    """`0.1.0+1a2b3c4d`: the version, and a digest of the package's own source files."""
    root = Path(one2345.__file__).parent
    digest = hashlib.blake2b(digest_size=4)
    for file in sorted(root.rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return f"{one2345.__version__}+{digest.hexdigest()}"


def config_hash(config: Mapping[str, Any]) -> str:
    """Ten hexadecimal digits of a plain configuration, less where it runs."""
    kept = {k: v for k, v in config.items() if k not in _NEUTRAL}
    text = json.dumps(kept, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=5).hexdigest()


def objects_hash(objects: Iterable[tuple[str, str | None]]) -> str:
    """Ten hexadecimal digits of (id, digest of what the object is made from) in order of the ids."""
    text = json.dumps(sorted([id, fingerprint] for id, fingerprint in objects))
    return hashlib.blake2b(text.encode(), digest_size=5).hexdigest()
