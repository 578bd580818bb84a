"""Files that a mesh refers to (buffers, images, material libraries), read only inside its own folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlparse

from trimesh.resolvers import Resolver

from one2345.errors import InputError
from one2345.objects.image_checks import check_image

# Mesh formats and material libraries; everything else that a mesh names is an image.
_NO_IMAGES = (".bin", ".mtl", ".glb", ".gltf", ".obj", ".ply", ".stl", ".off")


class FolderResolver(Resolver):
    """Gives trimesh the files beside a mesh. `root` is the outermost folder allowed (default: the same).

    search: further folders in which what is not beside the mesh is looked for, under the same rule. stand_in:
    content of a material library (.mtl) that is nowhere.

    trimesh swallows what `get` raises for images and material libraries; so refusals and missing files are
    kept in `refused` and `missing`, and the loader looks there afterwards.
    """

    def __init__(
        self,
        path: Path,
        root: Path | None = None,
        *,
        search: Sequence[Path] = (),
        stand_in: bytes | None = None,
    ) -> None:
        self.folder = path.resolve().parent
        self.root = (root or self.folder).resolve()
        self.file_name = path.name
        self.search = tuple(search)
        self.stand_in = stand_in
        self.refused: list[str] = []
        self.missing: list[str] = []

    def locate(self, name: str) -> Path:
        """The file of a reference. InputError if it leaves the folder, FileNotFoundError if it is missing."""
        text = name.strip().strip('"')
        reason = _forbidden(text)
        candidates = [text] if unquote(text) == text else [text, unquote(text)]
        for candidate in candidates:
            reason = reason or _forbidden(candidate)
            if reason:
                self.refused.append(f"{name!r} {reason}")
                raise InputError(f"reference {name!r} {reason}")
            for folder in (self.folder, *self.search):
                target = (folder / candidate.replace("\\", "/")).resolve()
                if not target.is_relative_to(self.root):
                    reason = reason or f"points outside {self.root}"
                elif target.is_file():
                    return target
        if not reason:
            self.missing.append(name)
            raise FileNotFoundError(name)
        self.refused.append(f"{name!r} {reason}")
        raise InputError(f"reference {name!r} {reason}")

    def get(self, key: str) -> bytes:
        try:
            file = self.locate(key)
            content = file.read_bytes()
            if file.suffix.lower() not in _NO_IMAGES:
                try:
                    check_image(content, repr(key))
                except InputError as error:
                    self.refused.append(str(error))
                    raise
            return content
        except FileNotFoundError:
            if self.stand_in is None or not key.strip().lower().endswith(".mtl"):
                raise
            self.missing.remove(key)
            return self.stand_in

    def keys(self) -> list[str]:
        """Nothing is listed: files are read only when the mesh names them."""
        return []

    def write(self, name: str, data: object) -> None:
        raise InputError(f"loading a mesh must not write {name!r}")

    def namespaced(self, namespace: str) -> FolderResolver:
        return FolderResolver(
            self.locate(namespace) / self.file_name, self.root, search=self.search, stand_in=self.stand_in
        )


def _forbidden(text: str) -> str | None:
    if not text or "\0" in text:
        return "is not a file name"
    slashed = text.replace("\\", "/")
    if slashed.startswith(("/", "~")) or (len(text) > 1 and text[1] == ":" and text[0].isalpha()):
        return "is an absolute path; only files in the mesh's own folder are read"
    if urlparse(text).scheme:
        return "is a URL; only files in the mesh's own folder are read"
    if ".." in slashed.split("/"):
        return "leaves the mesh's folder with '..'"
    return None
