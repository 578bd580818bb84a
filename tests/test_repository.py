"""The files around the code: configuration, locked versions, README, Makefile, wheel."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import one2345

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONFIGS = sorted((ROOT / "conf").rglob("*.yaml"))
# Follow from the build of torch and can't be pinned beside it.
WITH_TORCH = re.compile(r"triton|nvidia-.*|cuda-.*")


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    table = {canonicalize_name(name): version for name, version in pairs}
    assert len(table) == len(pairs), "a package is pinned twice"
    return table


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def tracked_files() -> list[Path]:
    """Files of the repository as git sees them; those of a source archive where there is no git."""
    git = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(git, cwd=ROOT, capture_output=True, text=True) if (ROOT / ".git").exists() else None
    if done is None or done.returncode != 0:
        return [f for part in ("src", "conf", "tests") for f in (ROOT / part).rglob("*") if f.is_file()]
    return [f for f in (ROOT / name for name in done.stdout.split("\0") if name) if f.is_file()]


@pytest.mark.parametrize("file", CONFIGS, ids=[str(f.relative_to(ROOT / "conf")) for f in CONFIGS])
def test_yaml_parses(file: Path) -> None:
    node = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert node is None or isinstance(node, dict)


@pytest.mark.parametrize("file", [".pre-commit-config.yaml", ".github/workflows/ci.yml", "CITATION.cff"])
def test_other_yaml_parses(file: str) -> None:
    assert isinstance(yaml.safe_load((ROOT / file).read_text(encoding="utf-8")), dict)


def test_versions_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == one2345.__version__


def test_torch_is_pinned() -> None:
    assert pins()["torch"] == "2.13.0"
    assert pins()["litdata"] == "0.2.44"


def test_torchvision_is_no_dependency() -> None:
    everything = [*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())]
    names = {canonicalize_name(Requirement(line).name) for line in everything} | set(pins())
    assert not {"torchvision", "kaolin"} & names
    assert set(PROJECT["optional-dependencies"]) == {
        "cuda", "preprocess", "demo", "usd", "bench", "sweep", "docs", "dev",
    }  # fmt: skip


@pytest.mark.parametrize("extra", ["", *PROJECT["optional-dependencies"]])
def test_every_dependency_is_pinned_within_its_bounds(extra: str) -> None:
    table = pins()
    for line in PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]:
        wanted = Requirement(line)
        name = canonicalize_name(wanted.name)
        if name == "one2345":  # another extra, which has its own turn
            assert wanted.extras <= set(PROJECT["optional-dependencies"])
            continue
        if WITH_TORCH.fullmatch(name):
            assert name not in table, f"{name} follows from torch and would contradict another build of it"
            continue
        assert name in table, f"{name} is not pinned in constraints.txt"
        assert wanted.specifier.contains(table[name], prereleases=True), f"{line} against =={table[name]}"


def test_what_comes_along_is_pinned_too() -> None:
    """Walk what is installed from our dependencies: each package that they need has its pin."""
    table = pins()
    extras = PROJECT["optional-dependencies"]
    lines = PROJECT["dependencies"] + extras["dev"] + extras["docs"]  # dev names docs
    queue = [Requirement(line) for line in lines if not line.startswith("one2345[")]
    seen: set[tuple[str, frozenset[str]]] = set()
    unpinned: set[str] = set()
    while queue:
        wanted = queue.pop()
        name = canonicalize_name(wanted.name)
        key = (name, frozenset(wanted.extras))
        if key in seen or WITH_TORCH.fullmatch(name):
            continue
        seen.add(key)
        if name not in table and name != "one2345":
            unpinned.add(name)
        for line in metadata.requires(name) or []:
            inner = Requirement(line)
            extras = wanted.extras or {""}
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in extras):
                queue.append(inner)
    assert len(seen) > 100
    assert not unpinned


def test_first_screen_of_the_readme_has_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    screen = text.split("\n## ")[0]
    assert len(screen.splitlines()) <= 24
    assert re.findall(r"^    (\S.*)$", screen, re.MULTILINE) == ["make train", "make test"]


def test_commands_of_the_readme_exist() -> None:
    texts = [
        (ROOT / f).read_text(encoding="utf-8")
        for f in ("README.md", "data/README.md", "experiments/README.md")
    ]
    text = "\n".join(texts)
    for target in re.findall(r"(?:^    |`)make ([a-z-]+)", text, re.MULTILINE):
        assert target in makefile_targets(), f"make {target}"
    scripts = re.findall(r"python (\S+\.py)", text)
    assert {"train.py", "evaluate.py", "prepare.py"} <= set(scripts)
    for script in scripts:
        assert (ROOT / script).is_file(), script
    for group, value in re.findall(
        r"\b(experiment|logger|debug|trainer|data|source|inputs)=([a-z_0-9]+)\b", text
    ):
        assert (ROOT / "conf" / group / f"{value}.yaml").is_file(), f"{group}={value}"


def test_commands_of_the_makefile_exist() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert {"help", "setup", "venv", "train", "train-long", "test", "lint", "clean"} <= makefile_targets()
    for experiment in re.findall(r"experiment=(\w+)", text):
        assert (ROOT / "conf" / "experiment" / f"{experiment}.yaml").is_file(), experiment


def test_entry_scripts_are_thin() -> None:
    for name in ("train", "evaluate", "prepare"):
        text = (ROOT / f"{name}.py").read_text(encoding="utf-8")
        assert f"from one2345.cli.{name} import run" in text
        assert len(text.splitlines()) < 10


def test_ignore_patterns_are_anchored() -> None:
    """A bare `data/` would hide src/one2345/data and conf/data."""
    paths = ["src/one2345/data/x.py", "conf/data/x.yaml", "data/README.md", "experiments/a/README.md"]
    hidden = ["data/x", "experiments/runs/x", ".venv/x"]
    if not (ROOT / ".git").exists():
        pytest.skip("git alone can say what its patterns hide")
    git = ["git", "check-ignore", "--no-index", *paths, *hidden]
    done = subprocess.run(git, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == hidden


def test_nothing_names_a_machine_or_a_registry() -> None:
    # Spelled in parts, so that this file does not trip over itself.
    words = ["/wo" + "rk/", "/opt/" + "wheels", "/opt/" + "pypi", "py" + "pi.org", "python" + "hosted"]
    words += ["conda" + ".anaconda", "/ro" + "ot/", "/ho" + "me/"]
    # That host's packages, not the published weights that lie there too.
    packages = r"download\." + r"pytorch\.org(?!/models/)"
    pattern = re.compile("|".join([*map(re.escape, words), packages, r"\bissue[s]? ?#?\d"]), re.IGNORECASE)
    faults: list[str] = []
    for file in tracked_files():
        content = file.read_bytes()
        if b"\0" in content[:4096]:
            continue
        for number, line in enumerate(content.decode("utf-8", errors="replace").splitlines(), 1):
            if pattern.search(line):
                faults.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert not faults, "\n".join(faults)


def test_no_file_is_large() -> None:
    large = [
        (str(f.relative_to(ROOT)), f.stat().st_size) for f in tracked_files() if f.stat().st_size > 2**21
    ]
    assert not large


def test_package_imports_light() -> None:
    program = "import sys, one2345; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_wheel_holds_the_package_and_its_configuration(tmp_path: Path) -> None:
    """Built, unpacked in another folder and imported from there, it finds the configuration it carries."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(unpacked)
    assert {f"one2345/conf/{f.relative_to(ROOT / 'conf').as_posix()}" for f in CONFIGS} <= names
    data = [f for f in (ROOT / "src").rglob("*") if f.is_file() and "__pycache__" not in f.parts]
    assert {f.relative_to(ROOT / "src").as_posix() for f in data} <= names
    assert "one2345/py.typed" in names
    assert {name.split("/")[0] for name in names} == {"one2345", f"one2345-{one2345.__version__}.dist-info"}
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    program = "from one2345.paths import conf_dir; print(conf_dir())"
    environment = os.environ | {"PYTHONPATH": str(unpacked)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert Path(done.stdout.strip()) == unpacked / "one2345" / "conf", done.stderr
