"""Files of the repository that pages link to, on the site: READMEs and notebooks as pages, others as they are.

A page of docs/ links to `../experiments/x/README.md` as a reader of the repository follows it. On the site, what lies
outside docs/ stands below `repository/`, README.md is the front page, and links are rewritten to match. A folder stands
for its README.md; one without is a page of its files.
"""

from __future__ import annotations

import base64
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<=\])\(([^()\s#:]+)(#[^()\s]*)?\)")
"""`](path#anchor)` of links and pictures, addresses with a scheme left out."""


def on_files(files: Files, /, *, config: MkDocsConfig) -> Files:
    """Add the front page and all that can be reached by links."""
    queue = ["README.md", *(f"docs/{f.src_uri}" for f in files if f.src_uri.endswith(".md"))]
    queue += ["slurm/README.md", "CHANGELOG.md"]
    known = set(queue)
    for origin in queue:
        if not origin.startswith("docs/"):
            _add(files, config, origin)
        if _is_page(origin):
            found = {target for path, _ in LINK.findall(_text(origin)) if (target := _target(origin, path))}
            queue += sorted(found - known)
            known |= found
    return files


def on_page_markdown(markdown: str, /, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as the site needs them."""
    origin, here = _origin(page.file.src_uri), posixpath.dirname(page.file.src_uri)

    def rewritten(found: re.Match[str]) -> str:
        target = _target(origin, found[1])
        return (
            found[0]
            if target is None
            else f"({posixpath.relpath(_site(target), here or '.')}{found[2] or ''})"
        )

    return LINK.sub(rewritten, markdown)


def _add(files: Files, config: MkDocsConfig, origin: str) -> None:
    """Put a file of the repository on the site."""
    if origin.endswith(".ipynb"):
        text, pictures = notebook(json.loads(_text(origin)), Path(origin).stem)
        for name, data in pictures.items():
            place = posixpath.join(posixpath.dirname(_site(origin)), name)
            files.append(File.generated(config, place, content=data))
        files.append(File.generated(config, _site(origin), content=text))
    elif _is_page(origin):
        files.append(File.generated(config, _site(origin), content=_text(origin)))
    elif origin.endswith("/README.md"):
        files.append(File.generated(config, _site(origin), content=listing(posixpath.dirname(origin))))
    else:
        files.append(File.generated(config, _site(origin), content=(ROOT / origin).read_bytes()))


def listing(folder: str) -> str:
    """A page of a folder's files."""
    parts = [f"# {folder}"]
    for file in sorted((ROOT / folder).iterdir()):
        if file.is_file():
            parts.append(f"## {file.name}\n\n```{file.suffix[1:]}\n{file.read_text(encoding='utf-8')}```")
    return "\n\n".join(parts) + "\n"


def notebook(content: dict[str, Any], stem: str) -> tuple[str, dict[str, bytes]]:
    """Markdown of a notebook with its kept outputs, and the pictures in it by file name."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in content["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{stem}_{len(pictures)}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                parts.append(f"![output]({name})")
            elif text := "".join(output.get("text", data.get("text/plain", ""))):
                parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts) + "\n", pictures


def _is_page(origin: str) -> bool:
    return origin.endswith(".md") and (ROOT / origin).is_file()


def _text(origin: str) -> str:
    return (ROOT / origin).read_text(encoding="utf-8")


def _target(origin: str, path: str) -> str | None:
    """The repository's file that a link of `origin` means; None where there is none."""
    place = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
    if place.startswith(".."):
        return None
    if (ROOT / place).is_dir():
        return posixpath.normpath(f"{place}/README.md")
    return place if (ROOT / place).is_file() else None


def _site(origin: str) -> str:
    """Where a file of the repository stands on the site."""
    if origin == "README.md":
        return "index.md"
    if origin.startswith("docs/"):
        return origin.removeprefix("docs/")
    return "repository/" + re.sub(r"\.ipynb$", ".md", origin)


def _origin(uri: str) -> str:
    """The file of the repository that stands at a place of the site."""
    if uri == "index.md":
        return "README.md"
    if not uri.startswith("repository/"):
        return f"docs/{uri}"
    place = uri.removeprefix("repository/")
    book = re.sub(r"\.md$", ".ipynb", place)
    return place if (ROOT / place).is_file() else book
