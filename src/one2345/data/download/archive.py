"""Zip archives of strangers, unpacked into a folder and nowhere else."""

from __future__ import annotations

import errno
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from one2345.errors import InputError

MOST_BYTES = 1 << 31
MOST_FILES = 5000
BLOCK = 1 << 20


def unpack(archive: Path, folder: Path, *, name: str, most_bytes: int = MOST_BYTES) -> None:
    """Unpack `archive` into the empty or new `folder`; a single outer folder called `name` is left out.

    Raises InputError when it is no zip archive, is damaged, holds absolute names, names that leave the
    folder, links or the same file twice, is encrypted, or unpacks to more than `most_bytes`.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            members = [(_path(info), info) for info in zipped.infolist() if not info.is_dir()]
            size = sum(info.file_size for _, info in members)
            if size > most_bytes or len(members) > MOST_FILES:
                raise InputError(f"unpacks to {size} bytes in {len(members)} files, more than is taken")
            if members and all(path.parts[0] == name and len(path.parts) > 1 for path, _ in members):
                members = [(path.relative_to(name), info) for path, info in members]
            folder.mkdir(parents=True, exist_ok=True)
            for path, info in members:
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                # Reads no more than the size that was counted above, and checks the CRC at the end.
                with zipped.open(info) as source, target.open("xb") as out:
                    while block := source.read(BLOCK):
                        out.write(block)
    except InputError as error:
        raise InputError(f"{archive.name}: {error}") from error
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"{archive.name}: holds {Path(str(error.filename)).name!r} twice") from error
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENAMETOOLONG):
            raise
        # An offset before the file's begin, or folders within folders without end.
        raise InputError(f"{archive.name}: is damaged: {error.strerror}") from error
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError) as error:
        with archive.open("rb") as file:
            begin = file.read(40)
        if begin[:2] != b"PK":
            raise InputError(f"{archive.name}: is no zip archive, it begins with {begin!r}") from error
        raise InputError(f"{archive.name}: is damaged: {error}") from error


def _path(info: zipfile.ZipInfo) -> PurePosixPath:
    """Where a member goes, relative to the folder. InputError unless it is a plain file with a plain name."""
    name = info.orig_filename
    path = PurePosixPath(name)
    parts_fit = all(0 < len(part.encode()) <= 200 and part != ".." for part in path.parts)
    if (
        path.is_absolute()
        or not path.parts
        or not parts_fit
        or name[1:2] == ":"
        or "\\" in name
        or "\0" in name
    ):
        raise InputError(f"the name {name!r} could lead out of the folder")
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise InputError(f"{name!r} is a link or a device")
    if info.flag_bits & 0x1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{name!r} is encrypted, or compressed in an unusual way")
    return path
