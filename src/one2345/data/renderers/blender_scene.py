"""The part that runs inside Blender: `python blender_scene.py job.json` draws one object for one job.

Nothing of one2345 is imported here: the interpreter is another one, with bpy and an older numpy. A job is the
JSON that `blender_job.job_of` writes; all paths in it lie in the job's own folder, which holds a glTF file that
has been checked already. The result is one file of float32, (v, h, w, 8): premultiplied linear RGBA, depth
along the optical axis (0: nothing), outward or inward unit normal in the world. `--version` prints Blender's.
"""

# pyright: reportMissingImports=false, reportOptionalMemberAccess=false
# bpy and mathutils are in the other interpreter.
import ctypes
import json
import os
import signal
import struct
import sys
from pathlib import Path

import numpy as np

CHANNELS = 8
# Millimetres: any sensor will do, the focal length follows from it.
SENSOR = 36.0
# Share of a pixel that the rays of the geometry may miss its centre by; the least that Cycles takes.
POINT = 0.01
# World units: what Blender and our loader may disagree by about where an object ends.
PLACED = 4e-3


def main() -> None:
    if sys.argv[1:] == ["--version"]:
        import bpy

        print(bpy.app.version_string)
        return
    job_file = Path(sys.argv[1])
    job = json.loads(job_file.read_text(encoding="utf-8"))
    _end_with(job["parent"])
    draw(job, job_file.parent)


def _end_with(parent: int) -> None:
    """Have the kernel end this process when the one that started it ends (Linux)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        sys.exit("the process that asked for the pictures has ended")


def draw(job: dict, folder: Path) -> None:
    """Import, place and light the object; draw every camera; write the result."""
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.preferences.filepaths.use_scripts_auto_execute = False
    scene = bpy.context.scene
    _settings(scene, job)
    _light(scene, job["light_strength"], job["light_colour"])
    bpy.ops.import_scene.gltf(filepath=str(folder / job["mesh"]))
    _place(bpy, np.array(job["to_world"]), np.array(job["bounds"]))
    if job["surface"] == "albedo":
        for material in bpy.data.materials:
            _show_albedo(material)
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    geometry = _geometry_material(bpy)
    height, width = job["size"]
    # One colour for all: the geometry is drawn after all pictures, so that each scene is built once.
    views = np.zeros((len(job["cameras"]), height, width, CHANNELS), dtype=np.float32)
    for index, view in enumerate(job["cameras"]):
        _aim(scene, camera, view, (height, width))
        channels = _render(bpy, scene, folder)
        views[index, ..., :4] = np.stack([channels[c] for c in "RGBA"], -1)
    _draw_points(scene, geometry)
    for index, view in enumerate(job["cameras"]):
        _aim(scene, camera, view, (height, width))
        channels = _render(bpy, scene, folder)
        hit = channels["A"] > 0.5
        normal = np.stack([channels[c] for c in "RGB"], -1) * 2.0 - 1.0
        views[index, ..., 4] = np.where(hit, channels["Z"], 0.0)
        views[index, ..., 5:] = np.where(hit[..., None], normal, 0.0)
    views.tofile(folder / job["result"])


def _settings(scene, job: dict) -> None:
    render = scene.render
    render.engine = {"cycles": "CYCLES", "eevee": "BLENDER_EEVEE"}[job["engine"]]
    render.film_transparent = True
    render.dither_intensity = 0.0
    render.use_persistent_data = True
    render.resolution_percentage = 100
    render.use_compositing = render.use_sequencer = False
    render.threads_mode, render.threads = "FIXED", job["threads"]
    # The files hold linear light as it is; 'Standard' says the same of whatever else would be shown.
    scene.view_settings.view_transform, scene.view_settings.look = "Standard", "None"
    image = render.image_settings
    if hasattr(image, "media_type"):
        image.media_type = "MULTI_LAYER_IMAGE"
    image.file_format, image.color_depth, image.exr_codec = "OPEN_EXR_MULTILAYER", "32", "NONE"
    if hasattr(image, "use_exr_interleave"):
        image.use_exr_interleave = True  # one part, which is all that `read_exr` reads
    scene.view_layers[0].use_pass_z = True
    if job["engine"] == "eevee":
        scene.eevee.taa_render_samples = job["samples"]
        render.filter_size = 1.0
        return
    cycles = scene.cycles
    cycles.samples, cycles.seed, cycles.use_animated_seed = job["samples"], 0, False
    cycles.use_adaptive_sampling, cycles.use_denoising = False, job["denoise"]
    cycles.pixel_filter_type, cycles.max_bounces = "BOX", job["bounces"]
    cycles.caustics_reflective = cycles.caustics_refractive = False
    if job["device"] != "cpu":
        _use_gpu(cycles, job["device"])


def _use_gpu(cycles, kind: str) -> None:
    import bpy

    preferences = bpy.context.preferences.addons["cycles"].preferences
    preferences.compute_device_type = kind.upper()
    preferences.get_devices()
    found = [device for device in preferences.devices if device.type == kind.upper()]
    if not found:
        sys.exit(f"Blender finds no {kind} device")
    for device in preferences.devices:
        device.use = device in found
    cycles.device = "GPU"


def _light(scene, strength: float, colour: list) -> None:
    """The same light from everywhere."""
    import bpy

    world = bpy.data.worlds.new("light")
    scene.world = world
    if world.node_tree is None:
        world.use_nodes = True
    nodes = world.node_tree.nodes
    nodes.clear()
    background, output = nodes.new("ShaderNodeBackground"), nodes.new("ShaderNodeOutputWorld")
    background.inputs["Color"].default_value = (*colour, 1.0)
    background.inputs["Strength"].default_value = strength
    world.node_tree.links.new(background.outputs[0], output.inputs["Surface"])


def _place(bpy, to_world: np.ndarray, bounds: np.ndarray) -> None:
    """Move what was imported (z up) into the world, and see that it is where the labels are."""
    from mathutils import Matrix

    meshes = [o for o in bpy.context.scene.objects if o.type == "MESH" and len(o.data.polygons)]
    if not meshes:
        sys.exit("Blender finds no faces in the file")
    for item in list(bpy.context.scene.objects):
        if item.parent is None:
            item.matrix_world = Matrix(to_world.tolist()) @ item.matrix_world
    bpy.context.view_layer.update()
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for item in meshes:
        points = np.empty(3 * len(item.data.vertices), dtype=np.float32)
        item.data.vertices.foreach_get("co", points)
        corners = np.empty(len(item.data.loops), dtype=np.int32)
        item.data.loops.foreach_get("vertex_index", corners)
        matrix = np.array(item.matrix_world)
        points = points.reshape(-1, 3)[np.unique(corners)] @ matrix[:3, :3].T + matrix[:3, 3]
        low, high = np.minimum(low, points.min(0)), np.maximum(high, points.max(0))
    away = float(np.abs(np.stack([low, high]) - bounds).max())
    if not away < PLACED:
        sys.exit(f"Blender reads the file another way than the loader does: its bounds differ by {away:.3g}")


def _show_albedo(material) -> None:
    """Emission of the base colour, from both sides and without transparency, in place of the material."""
    if material.node_tree is None:
        return
    nodes, links = material.node_tree.nodes, material.node_tree.links
    shader = next((n for n in nodes if n.bl_idname == "ShaderNodeBsdfPrincipled"), None)
    output = next((n for n in nodes if n.bl_idname == "ShaderNodeOutputMaterial"), None)
    if shader is None or output is None:
        return
    emission, base = nodes.new("ShaderNodeEmission"), shader.inputs["Base Color"]
    emission.inputs["Color"].default_value = base.default_value
    if base.is_linked:
        links.new(base.links[0].from_socket, emission.inputs["Color"])
    links.new(emission.outputs[0], output.inputs["Surface"])


def _geometry_material(bpy):
    """Emission of (normal + 1) / 2 of the faces themselves, without smoothing."""
    material = bpy.data.materials.new("geometry")
    if material.node_tree is None:
        material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.clear()
    where, scaled = nodes.new("ShaderNodeNewGeometry"), nodes.new("ShaderNodeVectorMath")
    emission, output = nodes.new("ShaderNodeEmission"), nodes.new("ShaderNodeOutputMaterial")
    scaled.operation = "MULTIPLY_ADD"
    scaled.inputs[1].default_value = scaled.inputs[2].default_value = (0.5, 0.5, 0.5)
    links.new(where.outputs["True Normal"], scaled.inputs[0])
    links.new(scaled.outputs[0], emission.inputs["Color"])
    links.new(emission.outputs[0], output.inputs["Surface"])
    return material


def _draw_points(scene, material) -> None:
    """From here on one ray through each pixel's centre, which sees depth and normal alone."""
    scene.view_layers[0].material_override = material
    if scene.render.engine == "CYCLES":
        scene.cycles.samples, scene.cycles.use_denoising = 1, False
        scene.cycles.filter_width = POINT
    else:
        scene.eevee.taa_render_samples = 1
        scene.render.filter_size = 0.0


def _aim(scene, camera, view: dict, size: tuple) -> None:
    """The pinhole of K (pixels, centres at +0.5) at c2w (OpenCV axes)."""
    from mathutils import Matrix

    (height, width), K = size, view["K"]
    fx, fy, cx, cy = K[0][0], K[1][1], K[0][2], K[1][2]
    render, lens = scene.render, camera.data
    render.resolution_x, render.resolution_y = width, height
    # Focal lengths in pixels differ where pixels are not square; Blender takes ratios of at least 1.
    render.pixel_aspect_x, render.pixel_aspect_y = max(fy / fx, 1.0), max(fx / fy, 1.0)
    aspect = render.pixel_aspect_y / render.pixel_aspect_x
    lens.type, lens.sensor_fit, lens.sensor_width = "PERSP", "HORIZONTAL", SENSOR
    lens.lens = fx * SENSOR / width
    lens.shift_x, lens.shift_y = (width / 2 - cx) / width, (cy - height / 2) / width * aspect
    lens.clip_start, lens.clip_end = 1e-3, 1e3
    # Blender's cameras look along -z with y up.
    camera.matrix_world = Matrix(view["c2w"]) @ Matrix.Diagonal((1.0, -1.0, -1.0, 1.0))


def _render(bpy, scene, folder: Path) -> dict:
    """Channels R, G, B, A and Z (h, w) of the scene as it stands."""
    file = folder / "view.exr"
    scene.render.filepath = str(file)
    bpy.ops.render.render(write_still=True)
    channels = {name.rsplit(".", 1)[-1]: values for name, values in read_exr(file.read_bytes()).items()}
    file.unlink()
    return channels


def read_exr(data: bytes) -> dict:
    """name -> (h, w) float32 of an OpenEXR file of one part, uncompressed scan lines of 32-bit floats.

    Only what this script has Blender write; ValueError for anything else (OpenEXR file layout, version 2).
    """
    magic, version = struct.unpack_from("<II", data)
    if magic != 20000630 or version & 0x1A00:
        raise ValueError(f"not an OpenEXR file of one part with scan lines (version {version:#x})")
    at, header = 8, {}
    while data[at] != 0:
        name, at = _text(data, at)
        _, at = _text(data, at)
        (length,) = struct.unpack_from("<i", data, at)
        header[name] = data[at + 4 : at + 4 + length]
        at += 4 + length
    at += 1
    if header["compression"] != b"\0":
        raise ValueError("the OpenEXR file is compressed")
    left, top, right, bottom = struct.unpack("<4i", header["dataWindow"])
    width, height = right - left + 1, bottom - top + 1
    names, place = [], 0
    while header["channels"][place] != 0:
        name, place = _text(header["channels"], place)
        if struct.unpack_from("<i", header["channels"], place)[0] != 2:
            raise ValueError(f"channel {name} is not of 32-bit floats")
        names.append(name)
        place += 16
    values = np.empty((height, len(names), width), dtype=np.float32)
    for offset in struct.unpack_from(f"<{height}Q", data, at):
        row, size = struct.unpack_from("<ii", data, offset)
        line = np.frombuffer(data, dtype="<f4", count=size // 4, offset=offset + 8)
        values[row - top] = line.reshape(len(names), width)
    return {name: values[:, index] for index, name in enumerate(names)}


def _text(data: bytes, at: int) -> tuple:
    end = data.index(b"\0", at)
    return data[at:end].decode(), end + 1


if __name__ == "__main__":
    main()
