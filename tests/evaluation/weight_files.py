"""Weight files of the published layouts with random numbers in them, and a server that is nothing else."""

import functools
import http.server
import socket
import threading
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

# index in `features` -> (out channels, in channels, kernel) of torchvision's models, written out
ALEX = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
VGG = {
    0: (64, 3, 3), 2: (64, 64, 3),
    5: (128, 64, 3), 7: (128, 128, 3),
    10: (256, 128, 3), 12: (256, 256, 3), 14: (256, 256, 3),
    17: (512, 256, 3), 19: (512, 512, 3), 21: (512, 512, 3),
    24: (512, 512, 3), 26: (512, 512, 3), 28: (512, 512, 3),
}  # fmt: skip
SHAPES = {"alex": ALEX, "vgg": VGG}
WIDTHS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}


def trunk_state(net: str, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for index, (out, into, kernel) in SHAPES[net].items():
        weight = torch.randn(out, into, kernel, kernel, generator=generator)
        state[f"features.{index}.weight"] = weight * (2 / (into * kernel**2)) ** 0.5
        state[f"features.{index}.bias"] = torch.randn(out, generator=generator) * 0.1
    return state


def linear_state(net: str, seed: int = 1) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1, generator=generator)
        for i, width in enumerate(WIDTHS[net])
    }


def write_trunk(path: Path, net: str, *, classifier: bool = True) -> Path:
    state = trunk_state(net)
    if classifier:
        state |= {"classifier.1.weight": torch.zeros(4, 4), "classifier.1.bias": torch.zeros(4)}
    torch.save(state, path)
    return path


def write_clip(folder: Path, *, whole: bool = False) -> Path:
    """A tiny CLIP as transformers saves it: the image encoder, or with `whole` the text encoder too."""
    from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModelWithProjection

    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision = {**sizes, "image_size": 32, "patch_size": 8, "projection_dim": 16}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if whole:
            text = {**sizes, "vocab_size": 20, "eos_token_id": 1, "bos_token_id": 0}
            model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
        else:
            model = CLIPVisionModelWithProjection(CLIPVisionConfig(**vision))
        # the default is so near zero that all pictures would look alike
        for parameter in model.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return folder


def pictures(seed: int, views: int = 3, size: int | tuple[int, int] = 64) -> torch.Tensor:
    """Smooth random pictures (v, 3, h, w) in [0, 1]."""
    h, w = (size, size) if isinstance(size, int) else size
    coarse = torch.rand(views, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, size=(h, w), mode="bicubic").clamp(0, 1)


@contextmanager
def serving(handler):
    """URL of a local server of `handler` (a BaseHTTPRequestHandler class)."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


def files_of(folder: Path):
    return functools.partial(QuietFiles, directory=str(folder))


@contextmanager
def silent_server():
    """URL of a server that takes connections and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(8)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def closed_port():
    """URL at which nothing listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
