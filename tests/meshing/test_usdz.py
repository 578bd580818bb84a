"""USDZ: read back by Pixar's own library, and one clear sentence where that is missing."""

import io
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image
from tests.meshing.texture.shapes import sphere, stripes

from one2345.errors import InputError
from one2345.geometry import Mesh, y_up_from_z_up
from one2345.meshing import write_mesh
from one2345.meshing.texture import Texturer, smooth_normals
from one2345.objects.texture import srgb_to_linear


@pytest.fixture
def usd():
    return pytest.importorskip("pxr.Usd", reason="usd-core is not installed (the extra `usd`)")


@pytest.fixture(scope="module")
def textured() -> Mesh:
    egg = sphere(0.4, 3)
    squeezed = Mesh(egg.vertices * [1.0, 0.7, 0.5] + [0.0, 0.0, 0.1], egg.faces)
    return Texturer(faces=700, size=128)(squeezed, stripes).mesh


def test_pixar_reads_the_same_surface_axes_and_texture(usd, textured, tmp_path):
    from pxr import UsdGeom, UsdShade

    path = write_mesh(textured, tmp_path / "mesh.usdz")
    stage = usd.Stage.Open(str(path))
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and UsdGeom.GetStageMetersPerUnit(stage) == 1.0
    shape = UsdGeom.Mesh(next(p for p in stage.Traverse() if p.IsA(UsdGeom.Mesh)))
    assert shape.GetPrim().GetPath().HasPrefix(stage.GetDefaultPrim().GetPath())
    world = np.array(UsdGeom.XformCache().GetLocalToWorldTransform(shape.GetPrim()))
    assert np.array_equal(world, np.eye(4))
    faces = np.array(shape.GetFaceVertexIndicesAttr().Get()).reshape(-1, 3)
    points = np.array(shape.GetPointsAttr().Get())
    assert np.array_equal(faces, textured.faces) and shape.GetOrientationAttr().Get() == "rightHanded"
    assert np.abs(points - y_up_from_z_up(textured.vertices)).max() < 1e-6
    assert np.allclose(shape.GetExtentAttr().Get(), [points.min(0), points.max(0)])
    normals = np.array(shape.GetNormalsAttr().Get())
    assert shape.GetNormalsInterpolation() == "vertex" and shape.GetSubdivisionSchemeAttr().Get() == "none"
    assert np.abs(normals - y_up_from_z_up(smooth_normals(textured))).max() < 1e-6
    st = UsdGeom.PrimvarsAPI(shape).GetPrimvar("st")
    assert np.abs(np.array(st.Get()) - textured.uv).max() < 1e-6 and st.GetInterpolation() == "vertex"

    material, _ = UsdShade.MaterialBindingAPI(shape.GetPrim()).ComputeBoundMaterial()
    surface, _, _ = material.ComputeSurfaceSource()
    (source,), _ = surface.GetInput("diffuseColor").GetConnectedSources()
    picture = UsdShade.Shader(source.source.GetPrim())
    assert picture.GetInput("sourceColorSpace").Get() == "sRGB"
    assert picture.GetInput("wrapS").Get() == picture.GetInput("wrapT").Get() == "clamp"
    assert picture.GetInput("file").Get().resolvedPath  # found within the package
    with zipfile.ZipFile(path) as archive:
        stored = archive.read(picture.GetInput("file").Get().path)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(stored))), textured.texture)


def test_vertex_colours_are_linear(usd, textured, tmp_path):
    from pxr import UsdGeom

    colours = np.abs(textured.vertices).clip(0, 1)
    mesh = Mesh(textured.vertices, textured.faces, colours=colours)
    stage = usd.Stage.Open(str(write_mesh(mesh, tmp_path / "mesh.usdz")))
    shape = UsdGeom.Mesh(next(p for p in stage.Traverse() if p.IsA(UsdGeom.Mesh)))
    found = shape.GetDisplayColorPrimvar()
    assert found.GetInterpolation() == "vertex"
    assert np.abs(np.array(found.Get()) - srgb_to_linear(colours)).max() < 1e-6


@pytest.mark.parametrize("kind", ["texture", "vertex colours", "plain"])
def test_the_validators_of_usd_find_nothing(usd, textured, tmp_path, kind):
    validation = pytest.importorskip("pxr.UsdValidation", reason="this usd-core has no validators yet")
    mesh = {
        "texture": textured,
        "vertex colours": Mesh(
            textured.vertices, textured.faces, colours=np.ones((len(textured.vertices), 3))
        ),
        "plain": Mesh(textured.vertices, textured.faces),
    }[kind]
    stage = usd.Stage.Open(str(write_mesh(mesh, tmp_path / "mesh.usdz")))
    validators = validation.ValidationRegistry().GetOrLoadAllValidators()
    assert len(validators) > 10
    found = validation.ValidationContext(validators).Validate(stage)
    assert [(e.GetName(), e.GetMessage()) for e in found] == []


def test_files_lie_uncompressed_where_readers_map_them_and_are_the_same_each_time(usd, textured, tmp_path):
    a, b = (write_mesh(textured, tmp_path / f"{n}.usdz").read_bytes() for n in "ab")
    assert a == b
    with zipfile.ZipFile(io.BytesIO(a)) as archive:
        assert [e.filename for e in archive.infolist()] == ["mesh.usdc", "texture.png"]
        assert archive.testzip() is None
        for entry in archive.infolist():
            name, extra = (
                int.from_bytes(a[entry.header_offset + at : entry.header_offset + at + 2], "little")
                for at in (26, 28)
            )
            assert entry.compress_type == zipfile.ZIP_STORED
            assert (entry.header_offset + 30 + name + extra) % 64 == 0


def test_without_usd_core_one_sentence_names_the_extra(monkeypatch, textured, tmp_path):
    monkeypatch.setitem(sys.modules, "pxr", None)
    with pytest.raises(InputError, match=r"pip install 'one2345\[usd\]'"):
        write_mesh(textured, tmp_path / "mesh.usdz")
    assert not list(tmp_path.iterdir())
