"""Appearance: what is asked for is computed, or its absence explained; nothing stalls or asks the network unasked."""

import dataclasses
import hashlib
import json
import pickle
import time
import urllib.request

import huggingface_hub.constants
import pytest
import torch
from tests.evaluation.weight_files import closed_port, linear_state, pictures, write_clip, write_trunk

from one2345.build import build
from one2345.cli.compose import to_plain
from one2345.errors import InputError
from one2345.evaluation import appearance as module
from one2345.evaluation.appearance import COLUMNS, Appearance
from one2345.evaluation.metrics import clip_similarity, load_clip, load_lpips, lpips_distance, psnr, ssim
from one2345.hub import files as hub
from one2345.paths import conf_dir


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """Empty caches, and neither hub nor torch's site can be reached."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with closed_port() as url:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        # The opener that urllib keeps knows the proxies of its first use: here a new one, gone afterwards.
        monkeypatch.setattr(urllib.request, "_opener", None)
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    write_trunk(folder / "trunk.pth", "alex")
    torch.save(linear_state("alex"), folder / "linear.pth")
    write_clip(folder / "tiny")
    return folder


def complete(weights, **changes):
    files = {"lpips_trunk": str(weights / "trunk.pth"), "lpips_linear": str(weights / "linear.pth")}
    return Appearance(**{"lpips": "alex", **files, "clip": str(weights / "tiny"), "device": "cpu", **changes})


def test_all_columns_are_the_functions_they_are_named_after(weights):
    a, b = pictures(0), pictures(1)
    loaded = complete(weights).load()
    network, _ = load_lpips("alex", trunk=weights / "trunk.pth", linear=weights / "linear.pth")
    encoder, _ = load_clip(str(weights / "tiny"))
    assert loaded.scores(a, b) == {
        "psnr": psnr(a, b),
        "ssim": ssim(a, b),
        "lpips": lpips_distance(a, b, network),
        "clip": clip_similarity(a, b, encoder),
    }
    assert loaded.columns == {"psnr": True, "ssim": True, "lpips": False, "clip": True} == COLUMNS
    assert not loaded.unavailable and not loaded.remarks()


def test_only_the_columns_of_a_protocol_are_computed(weights, monkeypatch):
    loaded = complete(weights).load()
    monkeypatch.setattr(module, "lpips_distance", lambda *_: pytest.fail("computed LPIPS"))
    assert list(loaded.scores(pictures(0), pictures(1), metrics=("clip", "psnr"))) == ["psnr", "clip"]


def test_facts_name_every_weight_file_by_its_hash(weights):
    facts = json.loads(json.dumps(complete(weights).load().facts()))
    assert facts["lpips"]["net"] == "alex"
    assert facts["lpips"]["trunk_sha256"] == hashlib.sha256((weights / "trunk.pth").read_bytes()).hexdigest()
    assert (
        facts["lpips"]["linear_sha256"] == hashlib.sha256((weights / "linear.pth").read_bytes()).hexdigest()
    )
    model = (weights / "tiny" / "model.safetensors").read_bytes()
    assert facts["clip"]["sha256"] == {"model.safetensors": hashlib.sha256(model).hexdigest()}
    assert facts["not_computed"] == {}
    assert str(weights) not in json.dumps(facts)


def test_columns_without_weights_say_why_and_the_rest_runs(nowhere):
    start = time.perf_counter()
    loaded = Appearance().load()
    assert time.perf_counter() - start < 2
    assert set(loaded.unavailable) == {"lpips", "clip"}
    for reason in loaded.unavailable.values():
        assert "weights are not here" in reason and "appearance.download=true fetches them" in reason
    assert loaded.columns == {"psnr": True, "ssim": True}
    assert loaded.scores(pictures(0), pictures(0)) == {"psnr": 100.0, "ssim": pytest.approx(1)}
    assert [line.split(":")[:2] for line in loaded.remarks()] == [
        ["lpips", " not computed"],
        ["clip", " not computed"],
    ]
    assert loaded.facts() == {"not_computed": loaded.unavailable}


def test_a_download_without_network_ends_soon_with_the_reason(nowhere):
    start = time.perf_counter()
    loaded = Appearance(download=True).load()
    assert time.perf_counter() - start < 3
    assert "could not be fetched from https://" in loaded.unavailable["lpips"]
    assert "openai/clip-vit-large-patch14 is not in the hub's local cache" in loaded.unavailable["clip"]
    assert "can't be fetched: http://127.0.0.1" in loaded.unavailable["clip"]


def test_one_kind_of_weights_does_not_need_the_other(nowhere, weights):
    loaded = Appearance(clip=str(weights / "tiny"), device="cpu").load()
    assert list(loaded.columns) == ["psnr", "ssim", "clip"]
    assert list(loaded.unavailable) == ["lpips"]


def test_nothing_is_looked_up_that_is_not_asked_for(monkeypatch):
    def fail(*_, **__):
        pytest.fail("looked up weights")

    monkeypatch.setattr(module, "load_lpips", fail)
    monkeypatch.setattr(module, "load_clip", fail)
    assert list(Appearance(metrics=["ssim", "psnr"]).load().columns) == ["psnr", "ssim"]
    assert list(Appearance(download=True).load(["psnr"]).columns) == ["psnr"]
    monkeypatch.setattr(hub.urllib.request, "urlopen", fail)
    assert list(Appearance(metrics=[]).load().columns) == []


def test_files_named_by_the_user_that_are_wrong_are_errors(weights, tmp_path):
    bad = tmp_path / "bad.pth"
    bad.write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"bad\.pth: damaged"):
        complete(weights, lpips_trunk=str(bad)).load()
    with pytest.raises(InputError, match=r"bad\.pth: damaged"):
        complete(weights, lpips_linear=str(bad)).load()
    with pytest.raises(InputError, match=r"no config\.json"):
        complete(weights, clip=str(tmp_path)).load()
    assert (
        "no.pth is no file"
        in complete(weights, lpips_trunk=str(tmp_path / "no.pth")).load().unavailable["lpips"]
    )
    with pytest.raises(InputError, match=r"appearance\.device is 'cud', which can't be used"):
        complete(weights, device="cud").load()


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"metrics": ["psnr", "fid"]}, "each of psnr, ssim, lpips, clip at most once"),
        ({"metrics": ["psnr", "psnr"]}, "at most once"),
        ({"lpips": "squeeze"}, "appearance.lpips is 'squeeze', expected vgg or alex"),
        ({"clip": ""}, "appearance.clip is empty"),
    ],
)
def test_settings_that_make_no_sense(keywords, message):
    with pytest.raises(InputError, match=message):
        Appearance(**keywords)


def test_pictures_too_small_for_a_column_are_an_error(weights):
    with pytest.raises(ValueError, match="too small for LPIPS"):
        complete(weights).load().scores(pictures(0, 1, 24), pictures(1, 1, 24))


def test_the_configuration_is_the_class_with_its_defaults():
    from omegaconf import OmegaConf

    file = OmegaConf.load(conf_dir() / "appearance" / "default.yaml")
    node = to_plain(OmegaConf.create({"appearance": file}))["appearance"]
    assert build(node) == Appearance()
    assert set(node) == {"_target_", *(f.name for f in dataclasses.fields(Appearance))}
    assert to_plain(OmegaConf.create({"appearance": file, "device": "cpu"}))["appearance"]["device"] == "cpu"
    assert pickle.loads(pickle.dumps(Appearance())) == Appearance()
