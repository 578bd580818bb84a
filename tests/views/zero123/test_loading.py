"""One network from every layout of its weights; what is missing, extra or mis-shaped is named; nothing is run."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.views.zero123.tiny import SIZE, make_tiny, original_state, output, write_hub, write_original

from one2345.errors import CheckpointError, InputError
from one2345.hub import WeightsUnavailable, find_weights
from one2345.views.zero123 import SCHEDULE, load_zero123, published_config, save_zero123
from one2345.views.zero123.convert import main


@pytest.fixture(scope="module")
def tiny():
    return make_tiny()


@pytest.fixture(scope="module")
def expected(tiny):
    return output(tiny)


@pytest.fixture(scope="module")
def state(tiny):
    return original_state(tiny)


def same(model, tiny, expected) -> bool:
    """The same weights, also those that one token of context makes mute, and the same output."""
    mine, theirs = model.state_dict(), tiny.state_dict()
    return (
        mine.keys() == theirs.keys()
        and all(torch.equal(mine[k], theirs[k]) for k in mine)
        and torch.allclose(output(model), expected, rtol=0, atol=1e-5)
    )


@pytest.mark.parametrize("layout", ["kxic", "bennyguo"])
@pytest.mark.parametrize("kind", ["safetensors", "pickled", "variant"])
def test_layouts_of_the_hub(tmp_path, tiny, expected, layout, kind):
    variant = "fp16" if kind == "variant" else None
    folder = write_hub(tmp_path / "m", tiny, layout=layout, pickled=kind == "pickled", variant=variant)
    loaded = load_zero123(folder, size=SIZE, variant=variant)
    assert same(loaded.model, tiny, expected)
    assert loaded.scheduler == SCHEDULE and loaded.pose == "delta"
    assert len(loaded.facts["sha256"]) == 9 and not loaded.model.training
    assert not any(p.requires_grad or p.is_meta for p in loaded.model.parameters())


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("ema", [False, True])
def test_an_original_checkpoint(tmp_path, tiny, expected, ema, legacy):
    file = write_original(tmp_path / "zero123.ckpt", original_state(tiny, ema=ema), legacy=legacy)
    loaded = load_zero123(file, size=SIZE)
    assert same(loaded.model, tiny, expected)
    assert loaded.facts["unet_weights"] == ("averaged" if ema else "plain")
    assert loaded.facts["unused"]["cond_stage_model.model.transformer"] == 1
    assert loaded.facts["unused"].get("model_ema", 0) == (2 if ema else 0)
    assert "no original file was here" in loaded.facts["notes"][0]
    assert loaded.scheduler == SCHEDULE


def test_original_tensors_as_safetensors(tmp_path, tiny, expected, state):
    save_file({k: v.contiguous().clone() for k, v in state.items()}, tmp_path / "z.safetensors")
    assert same(load_zero123(tmp_path / "z.safetensors", size=SIZE).model, tiny, expected)


def test_the_noise_schedule_of_a_checkpoint_is_taken_where_it_is_another(tmp_path, state):
    betas = torch.linspace(1e-4, 0.02, 1000)
    file = write_original(tmp_path / "z.ckpt", state | {"betas": betas})
    loaded = load_zero123(file, size=SIZE)
    assert torch.allclose(torch.tensor(loaded.scheduler["trained_betas"]), betas)


@pytest.mark.parametrize("pixels", [False, True])
def test_our_own_layout(tmp_path, pixels):
    model = make_tiny(1, pixels=pixels)
    save_zero123(tmp_path / "m", model, scheduler=SCHEDULE, pose="polar", record={"steps": 3})
    loaded = load_zero123(tmp_path / "m")
    assert torch.equal(output(loaded.model), output(model))
    assert loaded.model.size == SIZE and loaded.pose == "polar" and loaded.facts["layout"] == "own"
    assert (tmp_path / "m" / "vae").exists() is not pixels
    half = load_zero123(tmp_path / "m", dtype=torch.bfloat16).model
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}


def test_shards_with_an_index(tmp_path, tiny, expected):
    folder = write_hub(tmp_path / "m", tiny)
    whole = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(whole)
    whole.unlink()
    halves = [dict(list(weights.items())[i::2]) for i in (0, 1)]
    names = [f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for name, half in zip(names, halves, strict=True):
        save_file(half, folder / "unet" / name)
    index = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    where = {key: name for name, half in zip(names, halves, strict=True) for key in half}
    index.write_text(json.dumps({"weight_map": where}))
    assert same(load_zero123(folder, size=SIZE).model, tiny, expected)

    save_file(halves[0], tmp_path / "outside.safetensors")
    index.write_text(json.dumps({"weight_map": dict.fromkeys(where, "../../outside.safetensors")}))
    with pytest.raises(CheckpointError, match=r"names '\.\./\.\./outside\.safetensors', which is no file"):
        load_zero123(folder, size=SIZE)
    index.write_text(json.dumps({"weight_map": where}))
    (folder / "unet" / names[1]).unlink()
    with pytest.raises(CheckpointError, match="not all of unet/"):
        load_zero123(folder, size=SIZE)


@pytest.mark.parametrize("part", ["unet", "vae", "image_encoder", "cc_projection"])
def test_wrong_keys_of_a_folder_are_named(tmp_path, tiny, part):
    folder = write_hub(tmp_path / "m", tiny)
    (file,) = (folder / part).glob("*.safetensors")
    weights = load_file(file)
    name = sorted(weights)[-1]
    plain = name.removeprefix("projection.")
    for change, message in (
        ({k: v for k, v in weights.items() if k != name}, f"missing {plain}"),
        (weights | {"extra.weight": torch.ones(2)}, "unknown extra.weight"),
        (weights | {name: torch.ones(3, 5)}, rf"{plain} is \(3, 5\), expected \("),
        (weights | {name: weights[name] * float("nan")}, f"{plain} holds numbers that are not finite"),
    ):
        save_file(change, file)
        with pytest.raises(CheckpointError, match=message) as caught:
            load_zero123(folder, size=SIZE)
        assert str(file) in str(caught.value)
    many = {f"x{i}": torch.ones(1) for i in range(9)}
    save_file(weights | many, file)
    with pytest.raises(CheckpointError, match=r"unknown x0; unknown x1; unknown x2; and 6 more"):
        load_zero123(folder, size=SIZE)


def test_wrong_keys_of_an_original_checkpoint_are_named(tmp_path, state):
    name = "model_ema.diffusion_modelmiddle_block1norm"
    clip = "cond_stage_model.model.visual."
    for change, message in (
        ({k: v for k, v in state.items() if k != f"{name}bias"}, f"{name}bias and 0 more are missing"),
        (
            {k: v for k, v in state.items() if not k.startswith("cc_")},
            "projection: .*missing weight; missing bias",
        ),
        (
            state | {f"{name}weight": torch.ones(7)},
            r"mid_block.attentions.0.norm.weight is \(7,\), expected \(64,\)",
        ),
        (
            {k: v for k, v in state.items() if "attn_1.q" not in k},
            "autoencoder: .*missing encoder.*to_q.weight",
        ),
        (
            state | {f"{clip}transformer.resblocks.1.mlp.c_gate.weight": torch.ones(2)},
            "unknown key .*c_gate.weight",
        ),
        (
            {k: v for k, v in state.items() if not k.startswith("model")},
            "no key begins with model.diffusion_model",
        ),
        ({k: v for k, v in state.items() if "visual" not in k}, "'conv1.weight' is not there"),
        (state | {f"{clip}ln_post.bias": torch.ones(9)}, r"post_layernorm.bias is \(9,\), expected \(128,\)"),
    ):
        file = write_original(tmp_path / "z.ckpt", change)
        with pytest.raises(CheckpointError, match=message) as caught:
            load_zero123(file, size=SIZE)
        assert str(file) in str(caught.value)


def test_configurations_name_no_code(tmp_path, tiny, expected):
    """Remote code, kernels and pipelines are keys like any other that is not looked at; other classes are refused."""
    folder = write_hub(tmp_path / "m", tiny)
    for part in ("unet", "vae", "image_encoder"):
        (folder / part / "trap.py").write_text("raise SystemExit('sprung')")
        file = folder / part / "config.json"
        traps = {"auto_map": {"AutoModel": "trap.Model"}, "custom_pipeline": "trap", "trust_remote_code": True,
                 "attn_implementation": "some/kernel", "_attn_implementation": "some/kernel"}  # fmt: skip
        file.write_text(json.dumps(json.loads(file.read_text()) | traps))
    assert same(load_zero123(folder, size=SIZE).model, tiny, expected)
    file = folder / "unet" / "config.json"
    good = json.loads(file.read_text())
    for change, message in (
        ({"_class_name": "UNet3DConditionModel"}, "a UNet3DConditionModel, expected UNet2DConditionModel"),
        ({"block_out_channels": ["a"]}, "its configuration can't be built"),
        ({"down_block_types": ["os.system"] * 2}, "its configuration can't be built"),
        ({"in_channels": 9}, r"conv_in.weight is .*, expected \(32, 9, 3, 3\)"),
    ):
        file.write_text(json.dumps(good | change))
        with pytest.raises(CheckpointError, match=message):
            load_zero123(folder, size=SIZE)
    file.write_text("[")
    with pytest.raises(CheckpointError, match="can't be read as JSON"):
        load_zero123(folder, size=SIZE)


def test_a_pickled_part_that_holds_more_than_tensors_is_refused(tmp_path, tiny):
    folder = write_hub(tmp_path / "m", tiny, pickled=True)
    (file,) = (folder / "unet").glob("*.bin")
    torch.save({"conv_in.weight": json.JSONEncoder()}, file)
    with pytest.raises(CheckpointError, match="damaged, or holds more than tensors and plain values"):
        load_zero123(folder, size=SIZE)


def test_own_records_are_checked(tmp_path):
    folder = tmp_path / "m"
    save_zero123(folder, make_tiny(pixels=True), scheduler=SCHEDULE)
    file = folder / "one2345.json"
    good = json.loads(file.read_text())
    for change, message in (
        ({"format": "x"}, "not of this project's Zero123"),
        ({"size": "32"}, "`size` must be a number of pixels"),
        ({"pose": "x"}, "`pose` must be one of delta, polar"),
        ({"codec": {"factor": 0, "scale": 1}}, "`codec` must have a whole factor"),
        ({"codec": {"factor": 4, "scale": 1}}, "24 channels in and 12 out; latents of 48 need 96 and 48"),
    ):
        file.write_text(json.dumps(good | change))
        with pytest.raises(CheckpointError, match=message):
            load_zero123(folder)


def test_weights_of_stable_zero123_are_known_by_their_name(tmp_path, tiny):
    folder = write_hub(tmp_path / "stable-zero123-diffusers", tiny, layout="bennyguo")
    assert load_zero123(folder, size=SIZE).pose == "polar"
    assert load_zero123(folder, size=SIZE, pose="delta").pose == "delta"


def test_what_is_not_there(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="no weights of Zero123: not all of unet/, vae/"):
        load_zero123(tmp_path / "empty")
    for name in ("no/such/folder", str(tmp_path / "z.ckpt"), "some/zero123.ckpt"):
        with pytest.raises(WeightsUnavailable, match=r"no folder or file .*; this or that"):
            load_zero123(name, choices="this or that")
    with pytest.raises(WeightsUnavailable) as caught:
        find_weights("some/zero123-xl", download=False, choices="this or that")
    text = str(caught.value)
    for word in ("some/zero123-xl", "UNet", "about 5 GB", str(tmp_path / "cache"), "this or that"):
        assert word in text
    assert "\n" not in text


def test_weights_are_looked_for_without_torch():
    program = (
        "import sys, time; start = time.perf_counter()\n"
        "from one2345.hub import find_weights, WeightsUnavailable\n"
        "try: find_weights('some/where', download=False)\n"
        "except WeightsUnavailable: pass\n"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules); print(time.perf_counter() - start)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 3  # 0.2 s on an idle machine


def test_published_sizes():
    """Stable Diffusion 1 has 859,520,964 parameters in its UNet; four more channels in are 320 * 9 * 4 more."""
    model = published_config().build()
    counts = {}
    for name in ("unet", "codec", "image_encoder", "projection"):
        state = model.get_submodule(name).state_dict()
        assert all(t.is_meta for t in state.values())
        counts[name] = (len(state), sum(t.numel() for t in state.values()))
    assert counts == {
        "unet": (686, 859_520_964 + 320 * 9 * 4),
        "codec": (248, 83_653_863),
        "image_encoder": (392, 303_966_208),
        "projection": (2, 772 * 768 + 768),
    }
    assert model.latent_shape(1) == (1, 4, 32, 32)
    total = sum(count for _, count in counts.values())
    assert total == 1_247_746_219 and round(total * 4 / 1e9, 1) == 5.0


def test_converting_a_checkpoint(tmp_path, tiny, expected, state, capsys):
    file = write_original(tmp_path / "zero123-xl.ckpt", state)
    assert main([str(file), str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    for line in (
        "keys: UNet",
        "unused       1 keys: cond_stage_model.model.transformer",
        "missing      0 keys",
    ):
        assert line in said
    assert "weights of the UNet: averaged" in said and "note: names of original checkpoints" in said
    loaded = load_zero123(tmp_path / "out", size=SIZE)
    assert same(loaded.model, tiny, expected)
    assert main([str(file), str(tmp_path / "out")]) == 2
    assert "is not empty" in capsys.readouterr().err
    with pytest.raises(InputError):
        load_zero123("no such thing")
