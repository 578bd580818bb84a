"""A mesh as USDZ by Pixar's usd-core (the `usd` extra): what AR viewers of Apple take."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from one2345.errors import InputError
from one2345.geometry import Mesh, y_up_from_z_up
from one2345.objects.glb import encode_texture
from one2345.objects.texture import srgb_to_linear

NEEDS_EXTRA = (
    "USDZ needs usd-core, which is not installed: pip install 'one2345[usd]', or choose another format"
)
ALIGNMENT = 64
"""Bytes: readers map the files of a package into memory where they lie."""


def encode_usdz(mesh: Mesh, normals: NDArray[np.floating]) -> bytes:
    """The mesh, y up, one unit a metre, with a matt material that has its texture, or with its vertex colours.

    normals: (n, 3) unit, of the vertices. USD takes colours of vertices as linear, textures as sRGB. Raises InputError
    where usd-core is missing.
    """
    try:
        from pxr import Sdf, Usd, UsdGeom, Vt  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(NEEDS_EXTRA) from error
    files: dict[str, bytes] = {}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "mesh.usdc"
        stage = Usd.Stage.CreateNew(str(path))
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
        UsdGeom.SetStageMetersPerUnit(stage, 1.0)
        root = UsdGeom.Xform.Define(stage, "/object").GetPrim()
        stage.SetDefaultPrim(root)
        shape = UsdGeom.Mesh.Define(stage, "/object/mesh")
        points = Vt.Vec3fArray.FromNumpy(y_up_from_z_up(mesh.vertices).astype(np.float32))
        shape.CreatePointsAttr(points)
        shape.CreateExtentAttr(UsdGeom.PointBased.ComputeExtent(points))
        shape.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(mesh.faces), 3, np.int32)))
        shape.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(mesh.faces.astype(np.int32).reshape(-1)))
        shape.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(y_up_from_z_up(normals).astype(np.float32)))
        shape.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
        shape.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
        shape.CreateDoubleSidedAttr(True)
        variables = UsdGeom.PrimvarsAPI(shape)
        if mesh.texture is not None and mesh.uv is not None:
            st = variables.CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.vertex)
            st.Set(Vt.Vec2fArray.FromNumpy(mesh.uv.astype(np.float32)))
            files["texture.png"] = encode_texture(mesh.texture)
            _add_material(shape, "texture.png", repeat=not bool(((mesh.uv >= 0) & (mesh.uv <= 1)).all()))
        elif mesh.colours is not None:
            colour = shape.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex)
            colour.Set(Vt.Vec3fArray.FromNumpy(srgb_to_linear(mesh.colours).astype(np.float32)))
        stage.GetRootLayer().Save()
        del stage
        files = {path.name: path.read_bytes(), **files}  # the scene has to come first
    return _package(files)


def _add_material(shape, file: str, *, repeat: bool) -> None:
    """Bind a surface whose base colour is the picture in `file`, at the coordinates `st`."""
    from pxr import Sdf, UsdShade  # pyright: ignore[reportMissingImports]

    stage, types = shape.GetPrim().GetStage(), Sdf.ValueTypeNames
    material = UsdShade.Material.Define(stage, "/object/material")

    def shader(name: str, id: str, **inputs) -> UsdShade.Shader:
        made = UsdShade.Shader.Define(stage, f"/object/material/{name}")
        made.CreateIdAttr(id)
        for key, (kind, value) in inputs.items():
            made.CreateInput(key, kind).Set(value)
        return made

    where = shader("st", "UsdPrimvarReader_float2", varname=(types.String, "st"))
    wrap = (types.Token, "repeat" if repeat else "clamp")
    picture = shader(
        "picture", "UsdUVTexture", file=(types.Asset, Sdf.AssetPath(file)),
        sourceColorSpace=(types.Token, "sRGB"), wrapS=wrap, wrapT=wrap,
    )  # fmt: skip
    picture.CreateInput("st", types.Float2).ConnectToSource(where.CreateOutput("result", types.Float2))
    surface = shader(
        "surface", "UsdPreviewSurface", roughness=(types.Float, 1.0), metallic=(types.Float, 0.0)
    )
    colour = surface.CreateInput("diffuseColor", types.Color3f)
    colour.ConnectToSource(picture.CreateOutput("rgb", types.Float3))
    material.CreateSurfaceOutput().ConnectToSource(surface.CreateOutput("surface", types.Token))
    UsdShade.MaterialBindingAPI.Apply(shape.GetPrim()).Bind(material)


def _package(files: dict[str, bytes]) -> bytes:
    """A zip archive as USDZ wants it: nothing compressed, each file at a multiple of ALIGNMENT; no dates."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            # 30 bytes of header, the name, and a field of 4 bytes and the padding.
            padding = -(out.tell() + 30 + len(name) + 4) % ALIGNMENT
            entry.extra = b"\x86\x19" + padding.to_bytes(2, "little") + bytes(padding)
            archive.writestr(entry, data)
    return out.getvalue()
