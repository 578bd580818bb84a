"""Weights of the hub: found in its cache, fetched whole and checked, or their absence explained at once."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler

import huggingface_hub.constants
import pytest
from tests.evaluation.weight_files import closed_port, serving

from one2345.hub import WeightsUnavailable, choose_diffusers, find_weights, models, stated_sha256

COMMIT = "0123456789abcdef0123456789abcdef01234567"
KXIC = [
    "README.md", "model_index.json", "pipeline_zero1to3.py", "scheduler/scheduler_config.json",
    "unet/config.json", "unet/diffusion_pytorch_model.bin", "vae/config.json", "vae/diffusion_pytorch_model.bin",
    "image_encoder/config.json", "image_encoder/pytorch_model.bin",
    "cc_projection/config.json", "cc_projection/diffusion_pytorch_model.bin",
]  # fmt: skip
PARTS = ("unet", "vae", "image_encoder", ("cc_projection", "clip_camera_projection"))


def test_what_is_needed_of_a_repository():
    chosen = choose_diffusers(PARTS)(KXIC)
    assert chosen == [
        "model_index.json", "scheduler/scheduler_config.json", "unet/config.json", "unet/diffusion_pytorch_model.bin",
        "vae/config.json", "vae/diffusion_pytorch_model.bin", "image_encoder/config.json",
        "image_encoder/pytorch_model.bin", "cc_projection/config.json", "cc_projection/diffusion_pytorch_model.bin",
    ]  # fmt: skip
    # safetensors where there are any, and no weights twice
    both = [
        *KXIC,
        "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
    ]
    chosen = choose_diffusers(PARTS)(both)
    assert [n for n in chosen if n.startswith("unet/")] == [
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ]
    assert choose_diffusers(PARTS, variant="fp16")(both) is None
    assert (
        choose_diffusers(("unet",), variant="fp16")(both)[-1]
        == "unet/diffusion_pytorch_model.fp16.safetensors"
    )
    other = [n.replace("cc_projection", "clip_camera_projection") for n in KXIC]
    assert "clip_camera_projection/config.json" in choose_diffusers(PARTS)(other)
    for missing in ("unet/config.json", "vae/diffusion_pytorch_model.bin", "cc_projection/config.json"):
        assert choose_diffusers(PARTS)([n for n in KXIC if n != missing]) is None


def test_shards_are_needed_whole():
    stem = "unet/diffusion_pytorch_model"
    names = ["unet/config.json", f"{stem}.safetensors.index.json", f"{stem}-00001-of-00002.safetensors"]
    assert choose_diffusers(("unet",))(names) is None
    whole = [*names, f"{stem}-00002-of-00002.safetensors"]
    assert choose_diffusers(("unet",))(whole) == whole


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with closed_port() as url:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
        yield tmp_path / "cache"


def test_one_message_says_what_is_missing_where_it_is_looked_for_and_what_is_left(cache):
    start = time.perf_counter()
    with pytest.raises(WeightsUnavailable) as caught:
        find_weights("kxic/zero123-xl", choices="other ways: views=replay")
    assert time.perf_counter() - start < 5
    text = str(caught.value)
    assert text.startswith(
        "kxic/zero123-xl (UNet, autoencoder, image encoder, projection: about 5 GB) is not in "
    )
    assert (
        str(cache) in text
        and "can't be fetched: http" in text
        and text.endswith("; other ways: views=replay")
    )
    assert "\n" not in text
    with pytest.raises(WeightsUnavailable, match=r"about 2\.5 GB"):
        find_weights("bennyguo/zero123-xl-diffusers", variant="fp16")


def test_a_name_server_that_is_silent_is_given_up_too(cache, monkeypatch):
    """Name look-ups know no timeout of ours."""
    monkeypatch.setattr(models, "TIMEOUT", 0.1)
    forever = threading.Event()

    def silent(*_, **__):
        forever.wait(20)
        raise OSError("too late")

    monkeypatch.setattr(models.urllib.request, "urlopen", silent)
    start = time.perf_counter()
    with pytest.raises(WeightsUnavailable, match=r"can't be fetched: .*timed out"):
        find_weights("kxic/zero123-xl")
    assert time.perf_counter() - start < 5
    forever.set()


def test_a_whole_copy_in_the_cache_is_taken_without_a_question(cache, monkeypatch):
    monkeypatch.setattr(models, "_reach", lambda *_: pytest.fail("asked"))
    root = cache / "models--some--zero123"
    folder = root / "snapshots" / COMMIT
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    digest = hashlib.sha256(b"weights").hexdigest()
    (root / "blobs").mkdir()
    (root / "blobs" / digest).write_bytes(b"weights")
    for name in KXIC:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".bin"):
            (folder / name).symlink_to(root / "blobs" / digest)
        else:
            (folder / name).write_text("{}")
    source = find_weights("some/zero123")
    assert source.path == folder and source.layout == "folder" and source.pose() == "delta"
    assert find_weights("some/zero123", revision=COMMIT).path == folder
    hashes = source.hashes()
    assert hashes["unet/diffusion_pytorch_model.bin"] == digest == stated_sha256(folder / KXIC[5])
    assert hashes["unet/config.json"] == hashlib.sha256(b"{}").hexdigest()
    (folder / "vae" / "config.json").unlink()
    with pytest.raises(WeightsUnavailable, match="weights are not here"):
        find_weights("some/zero123", download=False)


def hub_of(content, asked, damaged=()):
    """As much of the hub as its client needs; large files are named by their SHA-256."""

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.partition("?")[0]
            asked.append(path)
            if path.startswith("/api/models/some/zero123"):
                listed = [{"rfilename": name} for name in content]
                answer = {"id": "some/zero123", "sha": COMMIT, "siblings": listed}
                if "/tree/" in path:
                    answer = [
                        {"type": "file", "path": n, "size": len(c), "oid": n} for n, c in content.items()
                    ]
                return self.answer(json.dumps(answer).encode(), "api")
            name = path.removeprefix(f"/some/zero123/resolve/{COMMIT}/")
            if name in content:
                digest = hashlib.sha256(content[name]).hexdigest()
                return self.answer(content[name], "0" * 64 if name in damaged else digest)
            return self.send_error(404)

        do_HEAD = do_GET

        def answer(self, body, tag):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{tag}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format, *args):
            pass

    return Hub


def test_only_what_is_needed_is_fetched_and_damage_is_noticed(tmp_path):
    """In processes of their own, since the hub's client reads its environment when it is imported."""
    content = {name: name.encode() for name in KXIC}
    code = (
        "from one2345.hub import find_weights, WeightsUnavailable\n"
        "try: source = find_weights('some/zero123'); print(source.path.name, *sorted(source.hashes()))\n"
        "except WeightsUnavailable as error: print('unavailable:', error)"
    )

    def run(url, cache):
        clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        environment = clean | {"HF_HOME": str(tmp_path / cache), "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": url}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    asked = []
    with serving(hub_of(content, asked)) as url:
        said = run(url, "a")
        assert said.split()[0] == COMMIT and len(said.split()) == 1 + 9
        fetched = {path.partition(f"{COMMIT}/")[2] for path in asked if "/resolve/" in path}
        assert fetched == set(KXIC) - {"README.md", "pipeline_zero1to3.py"}
        count = len(asked)
        assert run(url, "a") == said and len(asked) == count
    with serving(hub_of(content, asked, damaged=["vae/diffusion_pytorch_model.bin"])) as url:
        assert "vae/diffusion_pytorch_model.bin arrived damaged" in run(url, "b")
    with serving(hub_of({"model.onnx": b"x"}, asked)) as url:
        assert "has no such weights on the hub, or of another kind (model.onnx)" in run(url, "c")
