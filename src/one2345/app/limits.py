"""What one visitor may ask of the page, so that none can take it from the others."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from one2345.errors import InputError
from one2345.views.preprocess import picture_size

MEGA = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """megapixels: of a picture. upload_mb: of a file. unpacked_mb, files: of an archive of posed views.
    seconds: of one reconstruction. waiting: people in the queue. at_once: reconstructions that run at the same
    time. idle_minutes: after which the files of a visitor who went away are removed.

    Raises InputError for a limit that is not positive.
    """

    megapixels: float = 40.0
    upload_mb: float = 200.0
    unpacked_mb: float = 500.0
    files: int = 2000
    seconds: float = 900.0
    waiting: int = 20
    at_once: int = 1
    idle_minutes: float = 60.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise InputError(f"limits.{field.name}={value}: must be positive")

    def check_picture(self, file: Path) -> None:
        """Refuse a picture by its header alone, before its pixels are decoded: no picture, or too many pixels."""
        self.check_upload(file)
        height, width = picture_size(file)
        if height * width > self.megapixels * MEGA:
            raise InputError(
                f"{file.name}: {width} x {height} px are {height * width / MEGA:.0f} megapixels; at most "
                f"{self.megapixels:g} are taken, so make it smaller first"
            )

    def check_upload(self, file: Path) -> None:
        """Refuse a file that is too large."""
        size = file.stat().st_size
        if size > self.upload_mb * MEGA:
            raise InputError(f"{file.name}: {size / MEGA:.0f} MB; at most {self.upload_mb:g} MB are taken")
