"""The arrows between the rooms, and that what the code imports is declared."""

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.import_contracts import parse

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# Import names that differ from the name of their distribution.
DISTRIBUTION = {
    "cv2": "opencv-python-headless",
    "igl": "libigl",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "pxr": "usd-core",
    "warp": "warp-lang",
    "yaml": "pyyaml",
    "hydra": "hydra-core",
}
# Imported where present, never required.
# kaolin is recognised where it is; bpy and mathutils are in an interpreter of their own.
NOT_DECLARED = {"kaolin", "bpy", "mathutils"}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = (
        "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    )
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=120
    )


def test_the_arrows_hold() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        (
            "geometry/bad.py",
            "from one2345.models import layers",
            "one2345.geometry.bad may not import one2345.models",
        ),
        (
            "models/bad.py",
            "import one2345.training.module",
            "one2345.models.bad may not import one2345.training",
        ),
        ("losses.py", "import lightning.pytorch as pl", "one2345.losses may not import lightning"),
        ("training/bad.py", "import omegaconf", "one2345.training.bad may not import omegaconf"),
        (
            "meshing/bad.py",
            "def f():\n    import torchvision",
            "one2345.meshing.bad may not import torchvision",
        ),
        ("attic/__init__.py", "", "one2345.attic has no line"),
        ("paths.py", "import one2345.seeding", "one2345.paths may not import one2345.seeding"),
        ("data/datamodule.py", "import lightning", None),
        ("objects/good.py", "import one2345.errors, one2345.geometry", None),
        ("cli/good.py", "import hydra, one2345.evaluation", None),
    ],
)
def test_a_wrong_arrow_is_seen(tmp_path: Path, module: str, line: str, complaint: str | None) -> None:
    """On a package of empty rooms, each bad import breaks a contract and each good one does not."""
    package = tmp_path / "one2345"
    arrows = PROJECT["tool"]["importlinter"]["contracts"][0]["arrows"]
    for room in parse(arrows):
        (package / room).mkdir(parents=True)
        (package / room / "__init__.py").touch()
    for inner in ("models/layers.py", "training/module.py"):
        (package / inner).touch()
    (package / "__init__.py").touch()
    target = package / module
    if target.with_suffix("").is_dir():
        shutil.rmtree(target.with_suffix(""))
    target.parent.mkdir(exist_ok=True)
    target.write_text(line + "\n", encoding="utf-8")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "import_contracts.py", tmp_path / "tests")
    done = lint_imports(tmp_path)
    text = " ".join(done.stdout.split())
    if complaint is None:
        assert done.returncode == 0, done.stdout + done.stderr
    else:
        assert done.returncode == 1
        assert complaint in text


def test_two_lines_for_a_room_are_refused() -> None:
    with pytest.raises(ValueError, match="two lines for 'models'"):
        parse(["models: geometry", "models: rendering"])


def imported_libraries() -> dict[str, str]:
    """Top-level name of every library that src/ imports, anywhere in a file -> a file that does."""
    found: dict[str, str] = {}
    for file in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            for name in names:
                found.setdefault(name.partition(".")[0], str(file.relative_to(ROOT)))
    return {k: v for k, v in found.items() if k not in sys.stdlib_module_names and k != "one2345"}


def test_what_is_imported_is_declared() -> None:
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    lines = project["dependencies"] + [r for name, rs in extras.items() if name != "dev" for r in rs]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    missing = {
        name: file
        for name, file in imported_libraries().items()
        if name not in NOT_DECLARED and canonicalize_name(DISTRIBUTION.get(name, name)) not in declared
    }
    assert not missing
