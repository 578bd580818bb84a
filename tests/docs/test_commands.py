"""Every command that README and docs tell: composed and checked; some run; the reason is given where one cannot.

Names in capitals (DIR, RUN, PICTURE) are read as they stand: the tests run in a folder that has such a thing.
"""

import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from PIL import Image
from tests.data.spheres import Balls
from tests.docs.documents import ROOT, Told, all_told
from tests.evaluation.meshes import chair
from tests.training.scenes import TINY, tiny_model

from one2345.app import command as page
from one2345.checkpoints import save_release, training_record
from one2345.cli import app, evaluate, pack, predict, prepare, reconstruct, status, train
from one2345.cli.compose import compose, first_of_sweep
from one2345.cli.quoting import quote_overrides
from one2345.data import Recipe, SampleSizes, prepare_objects
from one2345.errors import One2345Error
from one2345.meshing import write_mesh

ALL = all_told()
OURS = [c for c in ALL if c.hydra]
STAGES = {"predict": predict.COMMAND, "pack": pack.COMMAND, "status": status.COMMAND}
MODULES = {"train": train, "evaluate": evaluate, "reconstruct": reconstruct, "prepare": prepare}
COMMANDS = {name: module.COMMAND for name, module in MODULES.items()} | {"app": page.COMMAND}

# What cannot run here, and why. Composed all the same; where the check asks for what is missing, it says these words.
ZERO123 = "Zero123's weights are 5 GB to be fetched"
CANNOT: dict[str, tuple[str, str | None]] = {
    r"^python reconstruct\.py (?:ckpt=one2345.safetensors )?image=(?:photo\.png|DIR)(?!.*weights=)": (
        ZERO123,
        "zero123",
    ),
    r"views.weights=zero123-xl.ckpt": (ZERO123, None),
    r"stage=predict root=DIR out=DIR2 views=zero123": (ZERO123, None),
    r"reconstruct\.py text=": ("weights of a text-to-image model are to be fetched", "stable-diffusion"),
    r"views=zero123_mini": ("needs an hour of training before", "no weights of Zero123"),
    r"download=true": ("downloads a collection", None),
    r"benchmark=gso": ("downloads a collection", None),
    r"render=blender": ("needs Blender, in an environment of its own", None),
    r"^sbatch": ("needs a cluster; tests/cluster starts one", None),
    r"scale=(?:gpu|paper)": ("needs a GPU", None),
}
# Fragments without what they need to run: words of the text, not commands to be typed.
FRAGMENTS = ("python train.py", "python -m one2345.cli.train", "python prepare.py stage=predict")


def write_world(here: Path) -> None:
    """Prepared balls and a mesh in DIR, meshes in DIR1 and DIR2, weights, pictures and what else pages name."""
    sizes = SampleSizes(sdf_points=64, surface_points=64, occupancy=(16, 64))
    recipe = Recipe(size=32, targets=2, train_samples=sizes, eval_samples=sizes)
    prepare_objects(Balls(3), out=here / "DIR", recipe=recipe, workers=1, progress=False)
    mesh = chair()
    for folder in ("DIR", "DIR1", "DIR2", "."):
        write_mesh(mesh, here / folder / "chair.glb")
    picture = np.full((64, 64, 4), 255, np.uint8)
    picture[..., 3] = 0
    picture[12:52, 20:44] = (200, 60, 30, 255)
    for name in ("photo.png", "PICTURE", "FILE", "DIR/photo.png"):
        Image.fromarray(picture).save(here / name, format="PNG")
    model = tiny_model()
    save_release(here / "one2345.safetensors", model, {"model": TINY})
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    for folder in ("CHECKPOINT", "experiments/runs/sdf_base/default-s0"):
        (here / folder / "checkpoints").mkdir(parents=True)
        content = {"state_dict": weights, "one2345": training_record(TINY, pixels=32)}
        torch.save(content, here / folder / "checkpoints" / "best.ckpt")
    for name in ("data/objaverse", "data/gso", "data/mugs", "DIR2"):
        shutil.copytree(here / "DIR", here / name, dirs_exist_ok=True)
    for name in ("SHARDS", "PACKED", "RUN/views", "DIR/zero12345_narrow", ".venv-blender/bin"):
        (here / name).mkdir(parents=True)
    for name in ("SHARDS/index.json", "SHARDS/catalogue.json", "PACKED/index.json", "PACKED/catalogue.json"):
        (here / name).write_text("{}")
    for name in (".venv-blender/bin/python", "zero123-xl.ckpt", "RUN/views/s0.png"):
        shutil.copy(here / "photo.png", here / name)
    (here / "shapes" / "objects").mkdir(parents=True)
    first = next(iter((here / "DIR" / "objects").iterdir()))
    shutil.copytree(first, here / "shapes" / "objects" / "shape-0-000000")
    (here / "docs").symlink_to(ROOT / "docs")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    here = tmp_path_factory.mktemp("world")
    write_world(here)
    return here


@pytest.fixture
def here(world, monkeypatch) -> Path:
    monkeypatch.chdir(world)
    monkeypatch.setenv("HF_HUB_CACHE", str(world / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "examples"))
    return world


def composed(told: Told) -> None:
    """What the command line does before anything heavy is imported: compose, resolve, check."""
    assert told.hydra is not None
    name, words = told.hydra
    stage = next((s for s in STAGES if f"stage={s}" in words), None)
    command = COMMANDS[name] if stage is None else STAGES[stage]
    overrides = [w for w in words if not w.startswith("-") and w != "job"]
    if "-m" not in words:
        app.configure(command, overrides)
        return
    first = first_of_sweep(command.name, quote_overrides(overrides, multirun=True))
    command.check(app.finish(command, compose(command.name, first), overrides))


def quick_first(commands: list[Told]) -> list[Any]:
    """Those of the front door always, the others among the slow tests."""
    front = ("README.md", "docs/first_hour.md", "docs/extending.md")
    return [pytest.param(c, id=c.text, marks=[] if c.page in front else pytest.mark.slow) for c in commands]


@pytest.mark.parametrize("told", quick_first([c for c in OURS if c.text not in FRAGMENTS]))
def test_a_command_composes_and_passes_the_checks(told, here):
    words = next((w for pattern, (_, w) in CANNOT.items() if re.search(pattern, told.text)), None)
    if words is None:
        composed(told)
        return
    with pytest.raises(One2345Error) as refused:
        composed(told)
    assert words.lower() in str(refused.value).lower()


def test_what_is_said_to_be_impossible_here_is_still_told():
    for pattern in CANNOT:
        assert any(re.search(pattern, c.text) for c in OURS), pattern
    assert set(FRAGMENTS) <= {c.text for c in ALL}
    assert len(OURS) > 70


@pytest.mark.parametrize("told", [c for c in ALL if not c.hydra], ids=lambda c: c.text)
def test_other_commands_name_what_exists(told):
    program, words = told.words[0], list(told.words[1:])
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    if program == "make":
        assert words[0] in targets
    elif program == "pip":
        assert words[0] == "install"
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        for word in (w for w in words[1:] if w.startswith("one2345[")):
            assert Requirement(word).extras <= set(extras)
        for word in (w for w in words[1:] if w.endswith(".txt")):
            assert (ROOT / word).is_file()
    elif program.startswith("python") and words[0] == "-m" and words[1] != "venv":
        module = ROOT / "src" / Path(*words[1].split("."))
        file = module / "__main__.py" if module.is_dir() else module.with_suffix(".py")
        assert '__name__ == "__main__"' in file.read_text() or file.name == "__main__.py"
    elif program.startswith("python") and words[0] != "-m":
        file = ROOT / words[0]
        for option in (w for w in words[1:] if w.startswith("--")):
            assert re.search(rf'"(--)?{option[2:]}"', file.read_text()), option
    elif program == "export":
        assert (ROOT / words[0].partition("=")[2]).is_dir()
    else:
        assert told.text in ("python3 -m venv .venv", ". .venv/bin/activate")


# Run for real, in this order and in one folder, with what makes each quick added. Longer ones of the same kind are run
# by the tests of the commands themselves (tests/cli, tests/cluster).
SMALL = ["extractor.resolution=32", "frames=2", "device=cpu", "texture.faces=500", "texture.size=128"]
TRIAL = [
    "debug=limit",
    "scale.steps=2",
    "logger=csv",
    "protocol.occupancy.resolutions=[16]",
    "protocol.points=64",
]
MEASURE = [
    "scale=laptop",
    "protocol.points=64",
    "evaluate.pictures=false",
    "device=cpu",
    "extractor.resolution=32",
]
RUNS: list[tuple[str, list[str]]] = [
    ("python prepare.py source=shapes source.train=1 plan=ring8_near out=shapes",
     ["render.size=48", "render.train_samples.sdf_points=500", "workers=1"]),
    ("python reconstruct.py posed=shapes/objects/shape-0-000000 extractor.resolution=128 out=first", SMALL),
    ("python reconstruct.py views=replay views.root=shapes/objects/shape-0-000000 plan=ring8 out=replayed", SMALL),
    ("python reconstruct.py views=oracle views.object=chair.glb elevation=20",
     [*SMALL, "views.size=48", "plan=ring8"]),
    ("python prepare.py stage=status out=DIR", []),
    ("python prepare.py stage=pack root=DIR out=PACKED", []),
    ("python train.py data=shards data.root=PACKED", [*TRIAL, "data.test_split=all"]),
    ("python evaluate.py meshes=DIR truth=DIR", [*MEASURE, "protocol.occupancy.resolutions=[16]",
     "evaluate.hull=false", "protocol.pictures=[]"]),
    ("python train.py 'hydra.searchpath=[file://docs/examples/conf]' model=points debug=limit",
     [*TRIAL[1:], "data=folder", "data.root=DIR", "data.test_split=all"]),
    ("python reconstruct.py 'hydra.searchpath=[file://docs/examples/conf]' views=lathe image=PICTURE elevation=5",
     [*SMALL, "views.size=48", "plan=ring8"]),
    ("python prepare.py 'hydra.searchpath=[file://docs/examples/conf]' source=superellipsoids out=DIR",
     ["source.count=2", "render.size=32", "workers=1", "out=superellipsoids"]),
    ("python evaluate.py 'hydra.searchpath=[file://docs/examples/conf]' protocol=mine meshes=DIR truth=DIR",
     ["scale=laptop", "protocol.points=500", "evaluate.pictures=false", "evaluate.hull=false", "device=cpu",
      "meshes=DIR1"]),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_commands_run(tmp_path, monkeypatch):
    by_text = {c.text: c for c in ALL}
    write_world(tmp_path)
    shutil.rmtree(tmp_path / "shapes")
    shutil.rmtree(tmp_path / "PACKED")
    shutil.rmtree(tmp_path / "DIR" / "zero12345_narrow")  # of the published set, which DIR is not
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "examples"))
    for text, quick in RUNS:
        hydra = by_text[text].hydra
        assert hydra is not None
        name, words = hydra
        keys = {q.partition("=")[0] for q in quick}
        print(text, flush=True)
        MODULES[name].run([*(w for w in words if w.partition("=")[0] not in keys), *quick])
    assert (tmp_path / "first" / "mesh.glb").is_file() and (tmp_path / "replayed" / "mesh.glb").is_file()
    assert len(list((tmp_path / "superellipsoids" / "objects").iterdir())) == 2
