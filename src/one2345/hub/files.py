"""Weight files: fetched whole or not at all, and told apart by their SHA-256."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import urllib.request
from pathlib import Path

from one2345.errors import InputError
from one2345.files import aside_name

TIMEOUT = 3.0
"""Seconds without an answer after which a server counts as out of reach."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


class WeightsUnavailable(InputError):
    """Weights that are not here: what needs them is not computed, and the rest goes on."""


def stated_sha256(file: Path) -> str | None:
    """The digest by which the hub's cache names a large file; None for files from elsewhere."""
    name = file.resolve().name
    return name if file.is_symlink() and _SHA256.fullmatch(name) else None


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def fetch(url: str, path: Path, *, digest: str, timeout: float = TIMEOUT) -> None:
    """Load `url` into `path`, which appears whole and with the stated SHA-256 or not at all.

    digest: its first hexadecimal digits. timeout: seconds that the server may be silent. Raises
    WeightsUnavailable.
    """
    aside = path.with_name(f".{aside_name()}.part")
    found = hashlib.sha256()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=timeout) as answer, aside.open("wb") as target:
            while block := answer.read(1 << 20):
                found.update(block)
                target.write(block)
        if not found.hexdigest().startswith(digest):
            raise WeightsUnavailable(
                f"{url} sent something else: SHA-256 {found.hexdigest()}, expected {digest}…; nothing was kept"
            )
        os.replace(aside, path)
    except (OSError, http.client.HTTPException) as error:
        raise WeightsUnavailable(f"could not be fetched from {url}: {error}") from error
    finally:
        aside.unlink(missing_ok=True)
