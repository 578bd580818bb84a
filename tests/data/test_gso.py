"""Google Scanned Objects in every layout that they are handed round in, from folder to prepared object."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import trimesh
from tests.data.fuel import Fuel
from tests.data.model_folders import RED, SIZE, block_obj, mujoco_files, official_files, write_files
from tests.data.spheres import RECIPE

from one2345.cli.app import execute
from one2345.cli.prepare import COMMAND
from one2345.data import GsoSource, open_meshes, prepare_objects
from one2345.errors import InputError
from one2345.views import list_objects, object_folder, read_object

SHARED = Path(os.environ.get("ONE2345_SHARED", Path(__file__).parents[3] / "shared"))
SCANS = SHARED / "data" / "gso_dev"


@pytest.fixture
def gso(tmp_path: Path) -> Path:
    root = tmp_path / "gso, 'é' = [x]"
    write_files(root / "Official", official_files("Official"))
    write_files(root / "Copy", mujoco_files())
    write_files(root / "Bare", {"Bare.obj": block_obj("model.mtl").encode()})
    block = trimesh.creation.box((SIZE[0], SIZE[2], SIZE[1]))
    write_files(root / "Binary", {"Binary.glb": block.export(file_type="glb")})
    return root


def test_every_layout_is_the_same_block(gso: Path) -> None:
    source = GsoSource(root=gso)
    assert source.ids() == ["Bare", "Binary", "Copy", "Official"]
    assert {id: source.axis(id) for id in source.ids()} == {
        "Bare": "z",
        "Binary": "y",
        "Copy": "z",
        "Official": "z",
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*missing files: model.mtl")
        for id in source.ids():
            assert np.ptp(source.mesh(id).bounds, axis=0) == pytest.approx(SIZE)
        assert np.ptp(GsoSource(root=gso, up="y").mesh("Bare").bounds, axis=0) == pytest.approx((1, 3, 2))


@pytest.mark.parametrize("id", ["Official", "Copy"])
def test_the_texture_is_found_in_the_models_folder(gso: Path, id: str) -> None:
    made = GsoSource(root=gso).load(id)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_meshes(gso).mesh(id).texture is not None
    colours = made.object.sample_surface(50, seed=0).colours
    assert colours.numpy() == pytest.approx(np.broadcast_to(np.array(RED) / 255, (50, 3)), abs=1e-6)
    assert made.exact
    assert made.provenance["licence"] == "CC-BY-4.0"
    assert "Downs" in made.provenance["author"]


@pytest.mark.parametrize("where", ["../outside.png", "materials/textures/link.png", "/outside.png"])
def test_no_texture_is_read_outside_the_models_folder(gso: Path, where: str) -> None:
    (gso / "outside.png").write_bytes((gso / "Copy/texture.png").read_bytes())
    model = gso / "Official"
    (model / "materials/textures/link.png").symlink_to(gso / "outside.png")
    (model / "meshes/model.mtl").write_text(
        f"newmtl material_0\nmap_Kd {where.removeprefix('materials/textures/')}\n"
    )
    with pytest.raises(InputError, match=r"model.obj: reference .*(outside|leaves|absolute)"):
        GsoSource(root=gso).mesh("Official")


def test_prepared_objects_are_kept_until_file_or_axis_change(gso: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def made(**keywords: object) -> int:
        return prepare_objects(
            GsoSource(root=gso, ids=["Official"], **keywords), out=out, recipe=RECIPE, workers=1
        ).made

    assert (made(), made()) == (1, 0)
    record = read_object(object_folder(out, "Official"))
    assert record.provenance["source"] == "Official/meshes/model.obj"
    assert (record.provenance["up"], record.provenance["yaw"]) == ("z", 0.0)
    height = record.samples().surface_points.amax(0)
    assert height.argmax() == 2
    # The same file, turned by a list: another object.
    listed = write_files(tmp_path, {"list.csv": b"id,yaw\nOfficial,90\n"}) / "list.csv"
    assert (made(list=listed), made(list=listed)) == (1, 0)
    turned = read_object(object_folder(out, "Official")).samples().surface_points.amax(0)
    assert turned[[1, 0, 2]].tolist() == pytest.approx(height.tolist(), abs=0.01)
    assert turned[0] > turned[1]


def downloading(fuel: Fuel, root: Path, out: Path) -> list[str]:
    return [
        "source=gso",
        "source.download=true",
        f"source.url={fuel.url}",
        f"source.root={root}",
        f"out={out}",
        "render.size=24",
        "render.targets=1",
        "workers=1",
    ]


def test_one_command_downloads_and_prepares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    fuel = Fuel("Bear", "Dog")
    root, out = tmp_path / "a, [b] = 'ü'", tmp_path / "out"
    listed = write_files(tmp_path, {"my list, 'x'.csv": b"id,yaw\nDog,90\nFox,0\n"}) / "my list, 'x'.csv"
    try:
        command = [*downloading(fuel, root, out), f"source.list={listed}"]
        assert execute(COMMAND, command) == 2
        assert re.search(r"error: 1 \(Fox\) could not be downloaded; Fox: .*404", capsys.readouterr().err)
        assert execute(COMMAND, [*command, "source.partial=true"]) == 0
        assert list_objects(out) == ["Dog"]
        asked = len(fuel.asked)
        assert execute(COMMAND, [*downloading(fuel, root, tmp_path / "first"), "source.limit=1"]) == 0
        assert list_objects(tmp_path / "first") == ["Bear"]
        assert [name for name, _ in fuel.asked[asked:]] == ["list", "list", "Bear"]
    finally:
        fuel.close()


def test_without_download_the_folder_must_be_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        execute(COMMAND, ["source=gso", f"source.root={tmp_path / 'gone'}", f"out={tmp_path / 'out'}"]) == 2
    )
    assert "source.root=" in capsys.readouterr().err


@pytest.mark.skipif(
    not (SCANS / "manifest.csv").is_file(), reason=f"no scans at {SCANS}; ONE2345_SHARED names their folder"
)
def test_the_dev_list_is_that_of_the_dev_folder() -> None:
    source = GsoSource(root=SCANS, list="gso_dev")
    assert (len(source.ids()), source.missing, source.unchecked) == (22, (), ())
    assert source.axis("Dino_4") == "y"
    # As in the MuJoCo copy of the model, whose first vertices these are (z up, metres).
    vertices = source.mesh("Android_Figure_Chrome").vertices
    for corner in ([-0.009194, 0.01123, 0.001342], [-0.010087, 0.02035, 0.036864]):
        assert np.abs(vertices - corner).sum(1).min() < 1e-8
