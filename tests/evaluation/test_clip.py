"""CLIP similarity on a tiny random encoder, from folders, from the hub's cache and from a stand-in hub."""

import json
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.evaluation.weight_files import closed_port, pictures, serving, silent_server, write_clip

from one2345.errors import InputError
from one2345.evaluation.metrics import CLIPSimilarity, WeightsUnavailable, clip_similarity, load_clip
from one2345.hub import models as hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "tiny")


@pytest.fixture(scope="module")
def encoder(folder):
    return load_clip(str(folder))[0]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub, and no hub."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with closed_port() as url:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
        yield tmp_path / "cache"


def in_cache(cache, name="some/model"):
    """A folder of the hub's cache where the one version of a model lies."""
    root = cache / f"models--{name.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    return root / "snapshots" / COMMIT


def test_cosine_of_what_transformers_makes_of_the_pictures(folder, encoder):
    """The model's own processor and head, one picture at a time."""
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    model = CLIPVisionModelWithProjection.from_pretrained(folder).eval()
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})

    def embed(picture):
        image = Image.fromarray((picture.permute(1, 2, 0) * 255).round().byte().numpy())
        with torch.no_grad():
            return model(**processor(image, return_tensors="pt")).image_embeds[0].double().numpy()

    cosines = []
    a, b = pictures(0, 9, 80), pictures(1, 9, 80)
    for p, t in zip(a, b, strict=True):
        p, t = embed(p), embed(t)
        cosines.append(p @ t / np.linalg.norm(p) / np.linalg.norm(t))
    assert np.ptp(cosines) > 0.05
    assert clip_similarity(a, b, encoder) == pytest.approx(np.mean(cosines), abs=3e-3)


@pytest.mark.parametrize("size", [(80, 80), (90, 64), (32, 57), (20, 24)])
def test_pictures_are_prepared_as_by_the_processor_of_clip(encoder, size):
    """But for its rounding to 8 bits after each of two passes: four steps of 255, in units of the deviation."""
    from transformers import CLIPImageProcessor

    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    noise = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(3))
    picture = ((pictures(2, 1, size) + noise) / 2 * 255).round() / 255
    image = Image.fromarray((picture[0].permute(1, 2, 0) * 255).round().byte().numpy())
    theirs = processor(image, return_tensors="pt")["pixel_values"]
    assert encoder.prepare(picture).shape == theirs.shape
    assert float((encoder.prepare(picture) - theirs).abs().max()) < 4 / 255 / 0.26


def test_identical_pictures_and_range(encoder):
    a, b = pictures(3), pictures(4)
    assert clip_similarity(a, a.clone(), encoder) == pytest.approx(1, abs=1e-6)
    assert -1 <= clip_similarity(a, b, encoder) < 0.999
    assert clip_similarity(a, b, encoder) == pytest.approx(clip_similarity(b, a, encoder), abs=1e-6)
    near = (a + 0.02 * torch.randn(a.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    assert clip_similarity(a, near, encoder) > clip_similarity(a, b, encoder)


def test_the_truth_is_embedded_once_for_all_methods(encoder, monkeypatch):
    seen = []
    forward = encoder.model.forward
    monkeypatch.setattr(
        encoder.model, "forward", lambda **k: seen.append(len(k["pixel_values"])) or forward(**k)
    )
    truths, methods = [pictures(7), pictures(8)], [pictures(9), pictures(10), pictures(11)]
    remembered = [[clip_similarity(m, t, encoder) for m in methods] for t in truths]
    assert sum(seen) == 2 * (3 + 3 * 3)
    fresh = [[float((encoder.embed(m) * encoder.embed(t)).sum(1).mean()) for m in methods] for t in truths]
    assert remembered == fresh
    assert remembered[0] != remembered[1]


def test_the_metric_is_a_mean_over_objects(encoder):
    metric = CLIPSimilarity(encoder=encoder)
    a, b = pictures(5), pictures(6)
    metric.update("x", a, b)
    metric.update("y", a, a)
    assert float(metric.compute()["clip"]) == pytest.approx(
        (clip_similarity(a, b, encoder) + 1) / 2, abs=1e-6
    )
    with pytest.raises(ValueError, match="nothing to compare"):
        metric.update("z", a[:0], b[:0])


def test_the_text_encoder_is_left_out(folder, tmp_path, caplog, capfd):
    encoder, facts = load_clip(str(write_clip(tmp_path / "whole", whole=True)))
    assert facts["size"] == 32 and list(facts["sha256"]) == ["model.safetensors"]
    assert clip_similarity(pictures(0), pictures(0), encoder) == pytest.approx(1)
    assert "text_model" not in caplog.text + "".join(capfd.readouterr())


def test_folders_that_are_wrong_say_what_is(folder, tmp_path):
    def broken(name, **changes):
        copy = tmp_path / name
        copy.mkdir()
        for file in folder.iterdir():
            (copy / file.name).write_bytes(changes.get(file.suffix[1:], file.read_bytes()))
        with pytest.raises(InputError, match=str(copy)) as caught:
            load_clip(str(copy))
        assert not isinstance(caught.value, WeightsUnavailable)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    assert "no config.json that names its model_type" in broken("a", json=b"{")
    assert "no config.json that names its model_type" in broken("b", json=b"[]")
    siglip = json.dumps(config | {"model_type": "siglip_vision_model"}).encode()
    assert "'siglip_vision_model', expected clip" in broken("c", json=siglip)
    assert "can't be loaded as CLIP" in broken(
        "d", safetensors=(folder / "model.safetensors").read_bytes()[:5000]
    )
    assert "can't be loaded as CLIP" in broken("e", safetensors=b"")
    wider = json.dumps(config | {"projection_dim": 17}).encode()
    assert "visual_projection" in broken("f", json=wider) or "can't be loaded" in broken("f2", json=wider)
    fewer = {k: v for k, v in weights.items() if "layers.1.mlp" not in k}
    save_file(fewer, tmp_path / "fewer.safetensors")
    message = broken("g", safetensors=(tmp_path / "fewer.safetensors").read_bytes())
    assert "lack" in message and "layers.1.mlp.fc1.bias" in message and "3 more" in message
    (tmp_path / "h").mkdir()
    (tmp_path / "h" / "config.json").write_text(json.dumps(config))
    torch.save(weights, tmp_path / "h" / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"has no model\*.safetensors; other kinds of weights are not read"):
        load_clip(str(tmp_path / "h"))


def test_no_code_that_lies_in_a_folder_is_run(folder, tmp_path):
    copy = tmp_path / "model"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    config = json.loads((copy / "config.json").read_text())
    hooks = {name: f"trap.{name}" for name in ("AutoConfig", "AutoModel", "CLIPVisionModelWithProjection")}
    (copy / "config.json").write_text(json.dumps(config | {"auto_map": hooks}))
    (copy / "trap.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'sprung')!r}).touch()")
    load_clip(str(copy))
    assert not (tmp_path / "sprung").exists()


def test_the_cache_of_the_hub_is_used_without_a_question(folder, cache):
    snapshot = in_cache(cache)
    snapshot.parent.mkdir()
    write_clip(snapshot)
    _, facts = load_clip("some/model")
    assert facts["model"] == "some/model" and facts["commit"] == COMMIT
    assert load_clip(f"some/model@{COMMIT}", download=True)[1] == facts | {"model": f"some/model@{COMMIT}"}
    (snapshot / "model.safetensors").write_bytes(b"x" * 99)
    with pytest.raises(WeightsUnavailable, match=r"the cached copy can't be used: .*can't be loaded as CLIP"):
        load_clip("some/model")
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(WeightsUnavailable, match=r"nor in the hub's local cache"):
        load_clip("some/model")


@pytest.mark.parametrize("name", ["some/model", "some/model@refs/pr/7"])
def test_what_is_not_there_is_no_fault_of_the_run(cache, name):
    with pytest.raises(WeightsUnavailable, match=r"nor in the hub's local cache.*download=true fetches them"):
        load_clip(name)


@pytest.mark.parametrize(
    "name", ["/no/such/folder", "../some/folder", "./folder", "word", "some/model@../../x"]
)
def test_names_that_are_no_model_of_the_hub_are_not_asked_for(cache, name, monkeypatch):
    monkeypatch.setattr(hub, "_fetch", lambda *_: pytest.fail("asked the hub"))
    with pytest.raises(WeightsUnavailable, match="is no folder, nor organisation/model of the hub"):
        load_clip(name, download=True)


def test_a_hub_out_of_reach_is_given_up_soon(cache, monkeypatch):
    start = time.perf_counter()
    with pytest.raises(
        WeightsUnavailable, match=r"^some/model is not in .* can.t be fetched: http://127.0.0.1.*refused"
    ):
        load_clip("some/model", download=True)
    monkeypatch.setattr(hub, "TIMEOUT", 0.3)
    with silent_server() as url:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
        with pytest.raises(WeightsUnavailable, match="timed out"):
            load_clip("some/model", download=True)
    assert time.perf_counter() - start < 3
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsUnavailable, match="HF_HUB_OFFLINE forbids"):
        load_clip("some/model", download=True)


def hub_of(folder, asked):
    """As much of the hub's interface as its client needs to fetch a model with pickled weights and code beside."""

    class Hub(BaseHTTPRequestHandler):
        files = {f.name: f.read_bytes() for f in folder.iterdir()} | {
            "pytorch_model.bin": b"pickled",
            "modeling.py": b"code",
        }

        def do_GET(self):
            asked.append(self.path)
            path = self.path.partition("?")[0]
            if path.endswith(("/api/models/some/tiny", "/api/models/some/tiny/revision/main")):
                siblings = [{"rfilename": name} for name in self.files]
                return self.answer(
                    json.dumps({"id": "some/tiny", "sha": COMMIT, "siblings": siblings}).encode()
                )
            if "/api/models/some/tiny/tree/" in path:
                tree = [{"type": "file", "path": n, "size": len(c), "oid": n} for n, c in self.files.items()]
                return self.answer(json.dumps(tree).encode())
            name = path.rpartition("/")[2]
            if path.startswith("/some/tiny/resolve/") and name in self.files:
                return self.answer(self.files[name], name)
            return self.send_error(404)

        do_HEAD = do_GET

        def answer(self, content, name="api"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{name}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, format, *args):
            pass

    return Hub


def test_a_model_is_fetched_from_the_hub_once_and_only_what_is_needed(folder, tmp_path):
    """In processes of their own, since the hub's client reads its environment when it is imported."""
    asked = []
    code = (
        "import time; from one2345.evaluation.metrics import load_clip, WeightsUnavailable; start = time.time()\n"
        "try: print(*(load_clip('some/tiny', download=True)[1]['commit'] for _ in range(2)))\n"
        "except WeightsUnavailable as error: print('unavailable:', error); assert time.time() - start < 5"
    )

    def start(**environment):
        clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        environment = clean | {"HF_HOME": str(tmp_path / environment["HF_HUB_OFFLINE"])} | environment
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdout=pipe, stderr=pipe, text=True
        )

    with serving(hub_of(folder, asked)) as url:
        children = [start(HF_HUB_OFFLINE="1", HF_ENDPOINT=url), start(HF_HUB_OFFLINE="0", HF_ENDPOINT=url)]
        (said, errors), (loaded, more) = [child.communicate(timeout=200) for child in children]
    assert [child.returncode for child in children] == [0, 0], errors + more
    assert "HF_HUB_OFFLINE forbids" in said
    assert loaded.split() == [COMMIT, COMMIT]
    assert {path.rpartition("/")[2] for path in asked if "/resolve/" in path} == {
        "config.json",
        "model.safetensors",
    }
    assert len([path for path in asked if path == "/api/models/some/tiny"]) == 1
