"""The commands that README, docs and the READMEs of the folders tell their readers."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("data", "slurm", "benchmarks", "src/one2345/weights", "experiments/zero123_mini")
PROGRAMS = ("python", "python3", "make", "pip", "torchrun", "srun", "sbatch", "export", ".", "mkdocs")


def documents() -> list[Path]:
    """All pages that tell commands to be typed."""
    return [
        ROOT / "README.md",
        *sorted(p for p in (ROOT / "docs").rglob("*.md") if p.name != "mutation.md"),
        *(ROOT / folder / "README.md" for folder in FOLDERS),
    ]


@dataclass(frozen=True)
class Told:
    """A command of a page. words: as a shell would hand them over, comments left out."""

    page: str
    text: str
    words: tuple[str, ...]

    @property
    def hydra(self) -> tuple[str, list[str]] | None:
        """Name and arguments of a command of this project; None of any other program."""
        words = list(self.words)
        for index, word in enumerate(words):
            if found := re.fullmatch(r"(train|evaluate|reconstruct|prepare)\.py", word):
                return found[1], words[index + 1 :]
            if found := re.fullmatch(r"one2345\.cli\.(train|evaluate|reconstruct|prepare)", word):
                return found[1], words[index + 1 :]
            if word == "one2345.app":
                return "app", words[index + 1 :]
            if found := re.fullmatch(r"slurm/(train|evaluate|prepare|sweep)(_array)?\.sbatch", word):
                name = "train" if found[1] == "sweep" else found[1]
                return name, (["-m", "hydra/launcher=slurm"] if found[1] == "sweep" else []) + words[
                    index + 1 :
                ]
        return None


def _lines(text: str) -> list[str]:
    """Lines of indented and of shell blocks, and code within a line; other fenced blocks left out."""
    found: list[str] = []
    for part in re.split(r"^```", text, flags=re.MULTILINE):
        language = re.match(r"[a-z]*\n", part)
        if language is None or language[0] == "\n":
            found += re.findall(r"^ {4}(\S.*)$", part.replace("\\\n", ""), re.MULTILINE)
            found += re.findall(r"`((?:python|pip|make|torchrun|sbatch) [^`\n]+)`", part)
        elif language[0] in ("bash\n", "sh\n"):
            found += part.removeprefix(language[0]).replace("\\\n", "").splitlines()
    return found


def told(page: Path) -> list[Told]:
    """The commands of one page, each once."""
    found: dict[str, Told] = {}
    for line in _lines(page.read_text(encoding="utf-8")):
        if line.split()[0] in PROGRAMS and "..." not in line:
            text = re.split(r"\s{2,}(?:#|[A-Z])", line)[0].strip()
            name = page.relative_to(ROOT).as_posix()
            found.setdefault(text, Told(name, text, tuple(shlex.split(text, comments=True))))
    return list(found.values())


def all_told() -> list[Told]:
    """The commands of all pages, each once."""
    found: dict[str, Told] = {}
    for page in documents():
        for command in told(page):
            found.setdefault(command.text, command)
    return list(found.values())
