"""An archive that a stranger uploaded, unpacked where it can do no harm."""

from __future__ import annotations

import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from one2345.errors import InputError

from .limits import MEGA, Limits

CHUNK = 1 << 20
IGNORED = ("__MACOSX", ".DS_Store", "Thumbs.db")
"""What desktop systems add to archives of their own accord."""


def unpack(archive: Path, folder: Path, *, limits: Limits) -> Path:
    """Unpack a zip file into the new `folder`; where its content begins: a single folder at the top is entered.

    Nothing is written outside `folder`: names that are absolute, lead upwards or hold a drive, a backslash or a
    control character are refused, and so are links and other special files, encrypted members, names that collide
    (also where case makes no difference), and an archive of more files or bytes than `limits` says. Bytes are counted
    as they come: what the archive says of itself is not believed. Raises InputError, and leaves nothing behind.
    """
    limits.check_upload(archive)
    folder.mkdir(parents=True)
    try:
        _unpack(archive, folder, limits)
    except BaseException as error:
        _remove(folder)
        if isinstance(
            error, zipfile.BadZipFile | zlib.error | EOFError | NotImplementedError | UnicodeDecodeError
        ):
            raise InputError(f"{archive.name}: not a zip file that can be read ({error})") from None
        raise
    inside = list(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _unpack(archive: Path, folder: Path, limits: Limits) -> None:
    with zipfile.ZipFile(archive) as packed:
        members = [m for m in packed.infolist() if not m.is_dir() and not _ignored(m.filename)]
        if not members:
            raise InputError(f"{archive.name}: the archive is empty")
        if len(members) > limits.files:
            raise InputError(f"{archive.name}: holds {len(members)} files; at most {limits.files} are taken")
        seen: set[str] = set()
        left = int(limits.unpacked_mb * MEGA)
        for member in members:
            path = safe_name(member, archive.name)
            if (folded := path.as_posix().casefold()) in seen:
                raise InputError(f"{archive.name}: {path.as_posix()!r} is in it twice")
            seen.add(folded)
            left = _write(packed, member, folder / path, left, limits, archive.name)


def safe_name(member: zipfile.ZipInfo, archive: str) -> PurePosixPath:
    """Where a member may be written, relative to the folder. Raises InputError for any other place, and for links."""
    name = member.orig_filename
    path = PurePosixPath(name)
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise InputError(f"{archive}: {name[:120]!r} is a link or a special file; only plain files are taken")
    unprintable = any(ord(c) < 32 or c == "\x7f" for c in name)
    if (
        path.is_absolute()
        or ".." in path.parts
        or "\\" in name
        or ":" in name
        or unprintable
        or not path.name
    ):
        raise InputError(
            f"{archive}: {name[:120]!r} leads out of the archive's folder or is no plain file name"
        )
    if len(path.parts) > 16 or len(name.encode("utf-8", "surrogatepass")) > 1000:
        raise InputError(f"{archive}: {name[:120]!r}... is too long a name")
    return path


def _write(
    packed: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, left: int, limits: Limits, archive: str
) -> int:
    """Write one member; how many bytes may still come after it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with packed.open(member) as source, path.open("xb") as target:
            while data := source.read(CHUNK):
                left -= len(data)
                if left < 0:
                    raise InputError(f"{archive}: unpacks to more than {limits.unpacked_mb:g} MB")
                target.write(data)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise InputError(f"{archive}: {path.name!r} is both a file and a folder in it") from None
    except RuntimeError as error:  # zipfile's word on passwords
        raise InputError(f"{archive}: {member.filename[:120]!r} can't be read: {error}") from None
    return left


def _ignored(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return bool(parts) and (parts[0] in IGNORED or parts[-1] in IGNORED)


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
