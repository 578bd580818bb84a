"""One picture, posed pictures or a text to a textured mesh, with the views, a turntable and a report.

What is finished is kept in the run folder, so that the same command goes on where it was stopped. A folder of
pictures gets one folder of results each, and a list of those that failed.
"""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from one2345.build import build
from one2345.cli import app
from one2345.cli.checks import check_folder_writable, existing_path
from one2345.cli.devices import check_device
from one2345.cli.provenance import code_version, libraries
from one2345.cli.summary import relative, summary_box
from one2345.errors import InputError, One2345Error
from one2345.files import write_atomic
from one2345.terminal import Bars, busy

COMMAND = app.Command("reconstruct", "one2345.cli.reconstruct", scaled=False)
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
FORMATS = ("glb", "obj", "ply", "usdz")
ANIMATIONS = ("gif", "mp4")
FAILED = "failed.json"
FILES = "files"  # the stage that writes them: mesh, turntable, views


def run(argv: list[str] | None = None) -> None:
    """`python reconstruct.py ...`."""
    app.run(COMMAND, argv)


def check(config: Mapping[str, Any]) -> None:
    """Refuse what cannot work before torch is imported."""
    given = [key for key in ("image", "posed", "text") if config[key] is not None]
    own = config["run"].get("choices", {}).get("views") in ("oracle", "simulated", "replay")
    if len(given) > 1:
        raise InputError(f"{' and '.join(f'{k}=' for k in given)} were given; one of them at a time")
    if not given and not own:
        raise InputError('nothing to reconstruct: give image=FILE, image=DIR, posed=DIR or text="..."')
    if config["image"] is not None and existing_path("image", config["image"]).is_dir():
        pictures(Path(config["image"]).expanduser())
    if config["posed"] is not None:
        existing_path("posed", config["posed"])
    if config["ckpt"] != "pretrained":
        existing_path("ckpt", config["ckpt"])
    for key, known in (("formats", FORMATS), ("turntable", ANIMATIONS)):
        for name in config[key]:
            if name not in known:
                raise InputError(f"{key}: {name!r} is not written; use {', '.join(known)}")
    if "usdz" in config["formats"] and find_spec("pxr") is None:
        from one2345.meshing.usdz import NEEDS_EXTRA

        raise InputError(f"formats: {NEEDS_EXTRA}")
    if not config["formats"]:
        raise InputError("formats=[] writes no mesh; give formats=[glb]")
    elevation = config["elevation"]
    number = isinstance(elevation, int | float) and not isinstance(elevation, bool)
    if elevation not in (None, "estimate") and not (number and -90 <= elevation <= 90):
        raise InputError(f"elevation={elevation}: degrees from -90 to 90, `estimate`, or null")
    if not isinstance(config["seed"], int):
        raise InputError(f"seed={config['seed']}: a whole number")
    check_device(config["device"])
    check_folder_writable(Path(config["run"]["dir"]))
    if config["text"] is not None:
        check_weights(config["text_to_image"])
    if config["posed"] is None:
        check_weights(config["views"])


def pictures(folder: Path) -> list[Path]:
    """The picture files of a folder, sorted. Raises InputError where there is none, or two of one name."""
    found = sorted(f for f in folder.iterdir() if f.suffix.lower() in PICTURES and f.is_file())
    if not found:
        raise InputError(f"image={folder}: holds no pictures ({', '.join(PICTURES)})")
    stems = [f.stem for f in found]
    if twice := sorted({s for s in stems if stems.count(s) > 1}):
        raise InputError(f"image={folder}: two pictures are called {twice[0]!r}; their results would collide")
    return found


def main(config: Mapping[str, Any]) -> Any:
    """Reconstruct; returns the paths that were written, by picture."""
    out = Path(config["run"]["dir"])
    with busy("weights"):
        views = None if config["posed"] is not None else build(config["views"], allow_any=True)
        pipe = pipeline(config, views)
    if config["posed"] is not None:
        return {"posed": _posed(config, pipe, out)}
    source = None if config["image"] is None else Path(config["image"]).expanduser()
    if source is not None and source.is_dir():
        return _folder(config, pipe, pictures(source), out)
    image: Any = source
    text = None
    if config["text"] is not None:
        image = out / "text.png"
        text = _draw_text(config, image)
    name = "object" if source is None else source.stem
    return {name: _one(config, pipe, image, out, name, text)}


def pipeline(config: Mapping[str, Any], synthesizer: Any) -> Any:
    """The pipeline (an `ImageTo3D`) that `config` describes, around `synthesizer`; None takes posed views only."""
    from one2345.cli.devices import pick_device
    from one2345.pipeline import ImageTo3D, Weights

    return ImageTo3D(
        weights=Weights.load(config["ckpt"]),
        synthesizer=synthesizer,
        plan=build(config["plan"], allow_any=True),
        estimator=build(config["elevation_estimator"], allow_any=True),
        extractor=build(config["extractor"], allow_any=True),
        texture=None if config["texture"]["_target_"] is None else build(config["texture"], allow_any=True),
        hull_tolerance=config["hull_tolerance"],
        segment=config["segment"],
        fill=config["fill"],
        download=config["download"],
        group=config["group"],
        device=pick_device(config["device"]),
    )


def _one(
    config: Mapping[str, Any], pipe: Any, image: Any, out: Path, name: str, text: Any = None
) -> dict[str, Path]:
    """One picture to the folder `out`. text: what the picture was drawn from, for the report."""
    with Bars() as bars:
        found = pipe(
            image,
            seed=config["seed"],
            elevation=config["elevation"],
            cache=out / "cache" if config["cache"] else None,
            progress=bars,
        )
        bars(FILES, 0, None)
        paths = write(config, found, out, name, text)
    return _say(found, paths, name)


def write(config: Mapping[str, Any], found: Any, out: Path, name: str, text: Any = None) -> dict[str, Path]:
    """Write a `Reconstruction` to the folder `out` as `config` says; the paths by what they are."""
    from one2345.pipeline import save

    return save(
        found,
        out,
        id=name,
        formats=config["formats"],
        animations=config["turntable"],
        frames=config["frames"],
        provenance={"code": code_version(), "libraries": libraries(), "text": text},
    )


def _say(found: Any, paths: dict[str, Path], name: str) -> dict[str, Path]:
    for line in found.warnings:
        print(f"note: {line}")
    if found.elevation is not None:
        placed = found.elevation
        sure = "" if placed.confidence is None else f", confidence {placed.confidence:.2f}"
        print(f"elevation of the input: {placed.degrees:.1f} degrees ({placed.source}{sure})")
    size = f"{len(found.mesh.vertices):,} vertices, {len(found.mesh.faces):,} faces"
    if found.mesh.texture is not None:
        size += f", a texture of {found.mesh.texture.shape[1]} px"
    summary_box(f"{name}: {size}", paths)
    return paths


def _folder(config: Mapping[str, Any], pipe: Any, files: list[Path], out: Path) -> dict[str, dict[str, Path]]:
    """Every picture to a folder of its own; those that failed are listed at the end."""
    done: dict[str, dict[str, Path]] = {}
    failed: dict[str, str] = {}
    with Bars() as bars:
        for index, file in enumerate(files):
            bars("pictures", index, len(files), file.name)
            print(f"{index + 1} of {len(files)}: {relative(file)}", flush=True)
            try:
                done[file.stem] = _one(config, pipe, file, out / file.stem, file.stem)
            except One2345Error as error:
                failed[file.name] = str(error)
                print(f"failed: {error}", flush=True)
        bars("pictures", len(files), len(files))
    write_atomic(out / FAILED, json.dumps(failed, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    if failed:
        listed = "; ".join(f"{name}: {why}" for name, why in list(failed.items())[:5])
        raise InputError(
            f"{len(failed)} of {len(files)} pictures failed ({relative(out / FAILED)}): {listed}"
        )
    summary_box(f"{len(done)} pictures: done", {"results": out})
    return done


def _posed(config: Mapping[str, Any], pipe: Any, out: Path) -> dict[str, Path]:
    """Posed pictures to the folder `out`, and a drawing of where their cameras stand."""
    from one2345.views.layouts import draw_cameras, read_posed

    posed = read_posed(Path(config["posed"]).expanduser(), up=config["posed_up"])
    print(
        f"{len(posed.views)} posed pictures ({posed.facts['layout']}): {posed.normalisation.words}",
        flush=True,
    )
    with Bars() as bars:
        found = pipe.from_views(
            posed.views,
            cache=out / "cache" if config["cache"] else None,
            progress=bars,
            warnings=tuple(posed.warnings),
        )
        bars(FILES, 0, None)
        paths = write(config, found, out, "posed")
        paths["cameras"] = out / "cameras.png"
        draw_cameras(posed.views).save(paths["cameras"])
    return _say(found, paths, "posed")


def _draw_text(config: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Draw the text, unless its picture is there already from the same settings and weights; what it was made of."""
    painter = build(config["text_to_image"], allow_any=True)
    made_of = {"text": config["text"], "seed": config["seed"], **painter.describe()}
    note, wanted = file.with_suffix(".json"), json.dumps(made_of, sort_keys=True, indent=1)
    if not (file.is_file() and note.is_file() and note.read_text(encoding="utf-8") == wanted):
        with busy("text"):
            data = painter(config["text"], seed=config["seed"])
        write_atomic(file, data)
        write_atomic(note, wanted)
    return made_of


def check_weights(node: Mapping[str, Any]) -> None:
    """Refuse a node whose weights are out of reach, where its class can say so without loading them."""
    target = build({**node, "_partial_": True}, allow_any=True)
    if hasattr(target.func, "check"):
        build(node, allow_any=True).check()


if __name__ == "__main__":
    run()
