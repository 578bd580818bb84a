"""reconstruct.py as a user runs it: one picture, a folder, posed pictures, a text; what is wrong, and what is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.evaluation.meshes import chair
from tests.training.scenes import TINY, tiny_model
from tests.views.zero123.tiny import make_tiny

from one2345.checkpoints import save_release
from one2345.cli import evaluate, reconstruct
from one2345.cli.app import configure, execute
from one2345.meshing import write_mesh
from one2345.views import read_object
from one2345.views.zero123 import SCHEDULE, save_zero123

QUICK = (
    "extractor.resolution=32", "turntable=[]", "frames=2", "plan=ring8", "device=cpu", "texture.faces=1000",
    "texture.size=128",
)  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_release(file, tiny_model(), {"model": TINY, "pixels": 32})
    return file


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with a painted chair, and without a hub."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    mesh = chair()
    colours = (mesh.vertices - mesh.vertices.min(0)) / np.ptp(mesh.vertices, axis=0)
    write_mesh(replace(mesh, colours=colours.astype(np.float32)), tmp_path / "chair.glb")
    return tmp_path


def oracle(weights: Path) -> list[str]:
    return [
        "views=oracle",
        "views.object=chair.glb",
        "views.size=48",
        "elevation=25",
        f"ckpt={weights}",
        *QUICK,
    ]


def refused(capsys, *argv: str) -> str:
    assert execute(reconstruct.COMMAND, list(argv)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, lines
    return lines[0]


def test_a_known_object_from_end_to_end(here, weights, capsys, monkeypatch):
    monkeypatch.setattr("one2345.terminal.WORTH_A_LINE", 0.0)
    argv = [*oracle(weights), "out=a, (b)", "formats=[glb,ply]"]
    assert execute(reconstruct.COMMAND, argv) == 0
    out = here / "a, (b)"
    said = capsys.readouterr()
    assert "elevation of the input: 25.0 degrees (given)" in said.out and "mesh.glb" in said.out
    assert "views: " in said.err  # times of the stages, in a log
    names = {p.name for p in out.iterdir()}
    assert names == {
        "mesh.glb", "mesh.ply", "input.png", "views", "turntable.png", "report.json", "config.json", "cache",
        "status.json",
    }  # fmt: skip
    report = json.loads((out / "report.json").read_text())
    assert report["code"].startswith("0.") and report["elevation"]["source"] == "given"
    record = read_object(out / "views" / "objects" / "object")
    assert record.provenance["elevation"] == 25.0 and len(record) == 8
    before = (out / "mesh.glb").read_bytes()
    (out / "mesh.glb").unlink()
    assert execute(reconstruct.COMMAND, argv) == 0
    assert (out / "mesh.glb").read_bytes() == before
    assert [s["made"] for s in json.loads((out / "report.json").read_text())["stages"][:2]] == [0, 0]


def test_a_folder_of_pictures_goes_on_past_those_that_fail(here, weights, capsys):
    folder = here / "my pictures"
    folder.mkdir()
    picture = np.full((40, 40, 4), 255, np.uint8)
    picture[..., 3] = 0
    picture[10:30, 12:28] = (200, 30, 30, 255)
    Image.fromarray(picture).save(folder / "a.png")
    (folder / "b.png").write_bytes(b"no picture")
    Image.fromarray(picture).save(folder / "c.png")
    argv = [f"image={folder}", *oracle(weights), "out=out"]
    line = refused(capsys, *argv)
    assert "1 of 3 pictures failed" in line and "b.png" in line
    assert list(json.loads((here / "out" / "failed.json").read_text())) == ["b.png"]
    assert (here / "out" / "a" / "mesh.glb").is_file() and (here / "out" / "c" / "mesh.glb").is_file()
    assert not (here / "out" / "b").exists()


def test_saved_views_and_posed_pictures_give_the_same_mesh(here, weights):
    # The textures differ: of posed pictures, all are the user's own.
    rest = [f"ckpt={weights}", *QUICK[:-2], "texture=none"]
    assert execute(reconstruct.COMMAND, [*oracle(weights)[:-2], "texture=none", "out=first"]) == 0
    assert execute(reconstruct.COMMAND, ["views=replay", "views.root=first/views", "out=second", *rest]) == 0
    assert execute(reconstruct.COMMAND, ["posed=first/views", "out=third", *rest]) == 0
    meshes = {(here / name / "mesh.glb").read_bytes() for name in ("first", "second", "third")}
    assert len(meshes) == 1
    assert (here / "third" / "cameras.png").is_file()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "nothing to reconstruct"),
        (["image=a.png", "text=b"], "image= and text= were given"),
        (["image=nowhere.png"], "image=nowhere.png: no such file"),
        (["posed=nowhere"], "posed=nowhere: no such"),
        (["views=oracle"], "views.object=FILE"),
        (["views=oracle", "views.object=chair.glb"], "elevation=20"),
        (["views=oracle", "views.object=chair.glb", "elevation=95"], "elevation=95: degrees from -90 to 90"),
        (["views=replay"], "views.root=DIR"),
        (["views=replay", "views.root=nowhere"], "views.root=nowhere: no such folder"),
        (["views=oracle", "formats=[stl]"], "formats: 'stl' is not written; use glb, obj, ply, usdz"),
        (["views=oracle", "turntable=[avi]"], "turntable: 'avi' is not written"),
        (["views=oracle", "device=gpu"], "did you mean 'cuda'"),
        (["views=oracle", "ckpt=nowhere.ckpt"], "ckpt=nowhere.ckpt: no such"),
        (["views=oracel"], "did you mean 'oracle'"),
        (["text=", "views=oracle", "views.object=chair.glb", "elevation=1", "text_to_image.weights=chair.glb"],
         "text_to_image.weights=chair.glb: no such folder"),
    ],
)  # fmt: skip
def test_one_line_says_what_is_wrong(here, capsys, argv, words):
    assert words in refused(capsys, *argv, "out=out")
    assert not (here / "out" / "mesh.glb").exists()


def test_usdz_without_its_library_is_refused_at_once(here, capsys, monkeypatch):
    monkeypatch.setattr("one2345.cli.reconstruct.find_spec", lambda name: None)
    assert "pip install 'one2345[usd]'" in refused(capsys, "views=oracle", "formats=[glb,usdz]")


def test_an_empty_folder_and_two_pictures_of_one_name(here, capsys):
    (here / "empty").mkdir()
    assert "holds no pictures" in refused(capsys, "image=empty", "views=oracle")
    for suffix in ("png", "jpg"):
        Image.new("RGB", (8, 8)).save(here / "empty" / f"a.{suffix}")
    assert "two pictures are called 'a'" in refused(capsys, "image=empty", "views=oracle")


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["image=a.png"], "kxic/zero123-xl"),
        (["text=a chair"], "stable-diffusion-v1-5/stable-diffusion-v1-5"),
        (["image=a.png", "views=zero123_fast"], "kxic/zero123-xl"),
    ],
)
def test_offline_without_weights_the_way_out_is_said_in_seconds(here, capsys, monkeypatch, argv, name):
    Image.new("RGB", (8, 8)).save(here / "a.png")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    begin = time.monotonic()
    line = refused(capsys, *argv, "out=out")
    assert time.monotonic() - begin < 5
    assert (name in line and "GB" in line and str(here / "hub") in line) or "hub's local cache" in line
    assert "posed=DIR" in line or "image=FILE" in line
    assert not (here / "out").exists()


def test_a_text_is_drawn_first_and_its_picture_kept(here, weights, capsys):
    painter = here / "painter"
    tiny_painter(painter)
    argv = [
        "text=a red, (wooden) chair", *oracle(weights), f"text_to_image.weights={painter}", "segment=none",
        "text_to_image.steps=2", "text_to_image.size=32", "out=out",
    ]  # fmt: skip
    assert execute(reconstruct.COMMAND, argv) == 0
    picture = here / "out" / "text.png"
    first = picture.read_bytes()
    with Image.open(picture) as drawn:
        assert drawn.size == (32, 32)
    report = json.loads((here / "out" / "report.json").read_text())
    assert report["text"]["text"] == "a red, (wooden) chair" and len(report["text"]["sha256"]) == 3
    assert report["input"]["foreground"] == "none"
    picture.write_bytes(first + b"\0")  # told from a new one
    assert execute(reconstruct.COMMAND, argv) == 0
    assert picture.read_bytes() == first + b"\0"  # kept
    assert execute(reconstruct.COMMAND, [*argv, "seed=1"]) == 0
    assert picture.read_bytes() not in (first, first + b"\0")

    index = json.loads((painter / "model_index.json").read_text())
    index["unet"] = ["my_module", "Evil"]
    (painter / "model_index.json").write_text(json.dumps(index))
    assert "unet comes from 'my_module'" in refused(capsys, *argv, "seed=2")


@pytest.mark.slow
def test_a_network_from_one_picture_is_measured_beside_the_rest(here, weights):
    (here / "truth").mkdir()
    (here / "chair.glb").rename(here / "truth" / "chair.glb")
    argv = [
        "truth=truth", f"ckpt={weights}", "evaluate.views=[oracle,simulated]", "views.size=48",
        "scale=laptop", "scale.pixels=32", "plan=ring8", "protocol.points=2000", "protocol.occupancy.resolutions=[32]",
        "protocol.pictures=[]", "evaluate.pictures=false", "evaluate.cache=null", "evaluate.sphere=false",
        "extractor.resolution=32", "out=out", "evaluate.elevation=estimate", "protocol.bootstrap=100",
    ]  # fmt: skip
    assert execute(evaluate.COMMAND, argv) == 0
    results = json.loads((here / "out" / "results.json").read_text())
    rows = [f"network from 1 picture, {kind}" for kind in ("oracle", "simulated")]
    assert set(rows) < set(results["predictors"])
    oracle_row, simulated_row = (
        next(r for r in results["rows"] if r["predictor"] == name and r["object"] == "chair") for name in rows
    )
    assert oracle_row["scores"]["iou_32"] > max(0.35, simulated_row["scores"]["iou_32"])
    assert "1 picture, 8 views made, elevation" in oracle_row["note"] and oracle_row["note"].endswith("off")


@pytest.mark.slow
def test_a_kill_at_any_time_leaves_a_run_that_goes_on_to_the_same_bytes(here, weights):
    argv = [sys.executable, "-m", "one2345.cli.reconstruct", *oracle(weights), "plan=published", "group=4"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*argv, "out=whole"], cwd=here, env=environment, check=True, capture_output=True)
    wanted = {f: (here / "whole" / f).read_bytes() for f in ("mesh.glb", "turntable.png", "input.png")}
    cache = here / "cut" / "cache"
    for parts in (4, 16, 40):
        run = subprocess.Popen([*argv, "out=cut"], cwd=here, env=environment, stderr=subprocess.DEVNULL)
        while run.poll() is None and len(list(cache.glob("*.npz"))) < parts:
            time.sleep(0.002)
        run.send_signal(signal.SIGKILL)
        run.wait()
    subprocess.run([*argv, "out=cut"], cwd=here, env=environment, check=True, capture_output=True)
    assert {f: (here / "cut" / f).read_bytes() for f in wanted} == wanted
    views = [here / name / "views" / "objects" / "object" / "images" for name in ("whole", "cut")]
    for file in views[0].iterdir():
        assert file.read_bytes() == (views[1] / file.name).read_bytes()


def test_the_same_command_names_the_same_folder(here):
    argv = ["views=oracle", "views.object=chair.glb", "elevation=20"]
    one, two = (configure(reconstruct.COMMAND, argv)["run"]["dir"] for _ in range(2))
    other = configure(reconstruct.COMMAND, [*argv, "plan=ring8"])["run"]["dir"]
    assert one == two != other


def tiny_painter(folder: Path) -> None:
    """A text-to-image pipeline of some thousand random weights, in diffusers' layout."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    folder.mkdir()
    words = {"<|startoftext|>": 0, "<|endoftext|>": 1}
    for index, letter in enumerate("abcdefghijklmnopqrstuvwxyz,()0123456789"):
        words |= {letter: 2 + 2 * index, f"{letter}</w>": 3 + 2 * index}
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    torch.manual_seed(0)
    StableDiffusionPipeline(
        tokenizer=CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77),
        text_encoder=CLIPTextModel(CLIPTextConfig(
            vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=2, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        )),
        unet=UNet2DConditionModel(
            block_out_channels=(32, 32), layers_per_block=1, sample_size=8, cross_attention_dim=16,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), norm_num_groups=8,
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=4,
        ),
        vae=AutoencoderKL(
            block_out_channels=[16, 16], norm_num_groups=8, latent_channels=4,
            down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
        ),
        scheduler=DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip


def test_a_photograph_through_random_weights_of_zero123(here, weights, capsys):
    """Nothing sensible to be seen, but every stage as for a photograph."""
    save_zero123(here / "zero123", make_tiny(pixels=True), scheduler=SCHEDULE)
    picture = np.full((60, 90, 3), 250, np.uint8)
    picture[15:50, 20:70] = (40, 90, 160)
    Image.fromarray(picture).save(here / "photo.jpg", quality=95)
    argv = [
        "image=photo.jpg", "views=zero123_mini", "views.weights=zero123", f"ckpt={weights}", *QUICK,
        "views.steps=2", "views.near_steps=2", "plan=published", "out=out",
    ]  # fmt: skip
    assert execute(reconstruct.COMMAND, argv) == 0
    report = json.loads((here / "out" / "report.json").read_text())
    assert report["input"]["foreground"] == "uniform background" and report["input"]["source_size"] == [
        60,
        90,
    ]
    assert set(report["views"]["sha256"]) >= {"unet/diffusion_pytorch_model.safetensors"}
    assert len(report["views made"]) == 40
    placed = report["elevation"]
    assert placed["source"] in ("prior", "estimated")
    said = capsys.readouterr().out
    if placed["source"] == "prior":
        assert placed["degrees"] == 20.0 and "could not be estimated" in " ".join(report["warnings"])
        assert "note: the elevation could not be estimated" in said
    before = (here / "out" / "mesh.glb").read_bytes()
    assert execute(reconstruct.COMMAND, [*argv[:-1], "out=again"]) == 0
    assert (here / "again" / "mesh.glb").read_bytes() == before
