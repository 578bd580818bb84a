"""LPIPS on random weights of the published layouts, against two computations that share no code with it."""

import hashlib
import pickle
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests.evaluation.weight_files import (
    SHAPES,
    closed_port,
    files_of,
    linear_state,
    pictures,
    serving,
    silent_server,
    trunk_state,
    write_trunk,
)
from torchmetrics.functional.image import lpips as reference

from one2345.errors import InputError
from one2345.evaluation.metrics import LPIPS, WeightsUnavailable, load_lpips, lpips_distance
from one2345.evaluation.metrics.published import PublishedFile, find_published
from one2345.hub import fetch


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for net in ("alex", "vgg"):
        write_trunk(folder / f"{net}-trunk.pth", net)
        torch.save(linear_state(net), folder / f"{net}-linear.pth")
    return folder


@pytest.fixture(scope="module")
def alex(folder):
    return load_lpips("alex", trunk=folder / "alex-trunk.pth", linear=folder / "alex-linear.pth")[0]


def straight_line(net, a, b):
    """The formula of the paper, one view at a time in float64, from the numbers of the files."""
    trunk, linear = trunk_state(net), linear_state(net)
    shift = torch.tensor([-0.030, -0.088, -0.188]).double()[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450]).double()[:, None, None]

    def features(picture):
        x = ((picture.double() * 2 - 1 - shift) / scale)[None]
        taps = []
        if net == "alex":
            plan = [(0, 4, 2), "tap", "pool", (3, 1, 2), "tap", "pool", (6, 1, 1), "tap", (8, 1, 1), "tap"]
            plan += [(10, 1, 1), "tap"]
        else:
            plan = [0, 2, "tap", "pool", 5, 7, "tap", "pool", 10, 12, 14, "tap", "pool"]
            plan += [17, 19, 21, "tap", "pool", 24, 26, 28, "tap"]
            plan = [(step, 1, 1) if isinstance(step, int) else step for step in plan]
        for step in plan:
            if step == "tap":
                taps.append(x[0])
            elif step == "pool":
                x = F.max_pool2d(x, 3 if net == "alex" else 2, 2)
            else:
                index, stride, padding = step
                weight, bias = trunk[f"features.{index}.weight"], trunk[f"features.{index}.bias"]
                x = F.conv2d(x, weight.double(), bias.double(), stride=stride, padding=padding).clamp(min=0)
        return taps

    total = 0.0
    for i, (p, t) in enumerate(zip(features(a), features(b), strict=True)):
        weight = linear[f"lin{i}.model.1.weight"].double()[0, :, 0, 0]
        p, t = (x / torch.linalg.vector_norm(x, dim=0).clamp(min=1e-10) for x in (p, t))
        total += float(torch.einsum("c,chw->hw", weight, (p - t) ** 2).mean())
    return total


@pytest.mark.parametrize(("net", "size"), [("alex", (64, 80)), ("vgg", (32, 48))])
def test_against_the_formula_written_out(folder, net, size):
    network, facts = load_lpips(net, trunk=folder / f"{net}-trunk.pth", linear=folder / f"{net}-linear.pth")
    a, b = pictures(0, 5, size), pictures(1, 5, size)
    expected = sum(straight_line(net, p, t) for p, t in zip(a, b, strict=True)) / 5
    assert expected > 0.05
    assert lpips_distance(a, b, network) == pytest.approx(expected, rel=1e-4)
    assert facts["trunk_keys_ignored"] == ["classifier.1.weight", "classifier.1.bias"]
    assert facts["trunk_sha256"] == hashlib.sha256((folder / f"{net}-trunk.pth").read_bytes()).hexdigest()


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_against_torchmetrics_with_the_linear_layers_that_it_ships(folder, net, monkeypatch):
    """torchmetrics' own network, which needs torchvision only for the trunk: ours of the same weights instead."""
    network, facts = load_lpips(net, trunk=folder / f"{net}-trunk.pth")
    assert facts["linear"] == f"{net}.pth"
    layers = [torch.nn.Identity()] * (1 + max(SHAPES[net]) + 2)
    for name, layer in network.features.named_children():
        layers[int(name)] = layer
    monkeypatch.setattr(reference, "_get_tv_model_features", lambda *_, **__: torch.nn.Sequential(*layers))
    theirs = reference._LPIPS(net=net)
    a, b = pictures(2, 2), pictures(3, 2)
    with torch.no_grad():
        expected = float(theirs(a, b, normalize=True).mean())
    assert expected > 1e-3
    assert lpips_distance(a, b, network) == pytest.approx(expected, rel=1e-3)


def test_identical_pictures_symmetry_and_noise(alex):
    true = pictures(4)
    noise = torch.randn(true.shape, generator=torch.Generator().manual_seed(5))
    assert lpips_distance(true, true.clone(), alex) == 0.0
    distances = [lpips_distance((true + s * noise).clamp(0, 1), true, alex) for s in (0.02, 0.05, 0.1, 0.2)]
    assert distances == sorted(distances) and distances[0] > 0
    assert distances[-1] > 2 * distances[0]
    other = pictures(6)
    assert lpips_distance(other, true, alex) == pytest.approx(lpips_distance(true, other, alex), rel=1e-6)


def test_views_count_alike_however_they_are_cut(alex):
    a, b = pictures(7, 9), pictures(8, 9)
    each = [lpips_distance(a[i : i + 1], b[i : i + 1], alex) for i in range(9)]
    assert lpips_distance(a, b, alex) == pytest.approx(sum(each) / 9, rel=1e-5)


def test_the_metric_is_a_mean_over_objects(alex):
    metric = LPIPS(network=alex)
    pairs = {
        "a": (pictures(0), pictures(1)),
        "b": (pictures(2), pictures(3)),
        "c": (pictures(4), pictures(4)),
    }
    for name, pair in pairs.items():
        metric.update(name, *pair)
    metric.update("a", *pairs["a"])
    expected = sum(lpips_distance(*pair, alex) for pair in pairs.values()) / 3
    assert float(metric.compute()["lpips"]) == pytest.approx(expected)
    assert metric.higher_is_better is False


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.zeros(0, 3, 64, 64), torch.zeros(0, 3, 64, 64), "nothing to compare"),
        (torch.zeros(1, 3, 0, 64), torch.zeros(1, 3, 0, 64), "nothing to compare"),
        (torch.zeros(1, 3, 64, 64), torch.zeros(2, 3, 64, 64), "shapes"),
        (torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64), "shapes"),
        (torch.zeros(1, 3, 64, 30), torch.zeros(1, 3, 64, 30), "30 x 64 pixels are too small for LPIPS: 31"),
        (torch.full((1, 3, 64, 64), torch.nan), torch.zeros(1, 3, 64, 64), "NaN"),
    ],
)
def test_pictures_that_cannot_be_compared(alex, a, b, message):
    with pytest.raises(ValueError, match=message):
        lpips_distance(a, b, alex)


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_the_smallest_picture_works_and_one_pixel_less_does_not(folder, net):
    network, _ = load_lpips(net, trunk=folder / f"{net}-trunk.pth")
    size = network.architecture.smallest
    assert lpips_distance(pictures(0, 1, size), pictures(1, 1, size), network) > 0
    with pytest.raises(RuntimeError):
        network(pictures(0, 1, size - 1), pictures(1, 1, size - 1))


class _Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_files_that_are_wrong_name_themselves_and_the_key(folder, tmp_path):
    def load(state, match, linear=None):
        if state is not None:
            torch.save(state, tmp_path / "trunk.pth")
        with pytest.raises(InputError, match=match) as caught:
            load_lpips("alex", trunk=tmp_path / "trunk.pth", linear=linear)
        assert not isinstance(caught.value, WeightsUnavailable)
        assert str(linear or tmp_path / "trunk.pth") in str(caught.value)
        assert "\n" not in str(caught.value)

    good = trunk_state("alex")
    load({k: v for k, v in good.items() if k != "features.6.bias"}, "no key 'features.6.bias'")
    load(trunk_state("vgg"), r"features.0.weight is \(64, 3, 3, 3\), expected \(64, 3, 11, 11\)")
    load(good | {"features.3.bias": torch.full((192,), torch.inf)}, "features.3.bias holds something else")
    load(
        good | {"features.3.bias": torch.zeros(192, dtype=torch.long)}, "features.3.bias holds something else"
    )
    load([1, 2], "no state dict")
    load({"state_dict": good}, "no state dict")
    load({"x": _Trap(tmp_path / "sprung")}, "damaged, or no file of weights")
    assert not (tmp_path / "sprung").exists()
    whole = (folder / "alex-trunk.pth").read_bytes()
    for content in (
        b"",
        b"not weights",
        whole[: len(whole) // 2],
        pickle.dumps(_Trap(tmp_path / "sprung"), 2),
    ):
        (tmp_path / "trunk.pth").write_bytes(content)
        load(None, "damaged, or no file of weights")
    assert not (tmp_path / "sprung").exists()
    torch.save(good, tmp_path / "trunk.pth")
    torch.save(linear_state("vgg"), tmp_path / "linear.pth")
    load(None, r"lin1.model.1.weight is \(1, 128, 1, 1\)", linear=tmp_path / "linear.pth")
    (tmp_path / "trunk.pth").rename(tmp_path / "alexnet-owt-7be5be79.pth")
    with pytest.raises(InputError, match="damaged: its SHA-256 is"):
        load_lpips("alex", trunk=tmp_path / "alexnet-owt-7be5be79.pth")
    with pytest.raises(InputError, match="'squeeze' is unknown; it takes vgg or alex"):
        load_lpips("squeeze")


def test_files_that_are_missing_are_no_fault_of_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(
        WeightsUnavailable, match=r"vgg16-397923af.pth\); appearance.download=true fetches them"
    ):
        load_lpips("vgg")
    for keywords in ({"trunk": tmp_path / "no.pth"}, {"trunk": tmp_path}):
        with pytest.raises(WeightsUnavailable, match=r"not here: .* is no file"):
            load_lpips("vgg", **keywords)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "vgg16-397923af.pth").write_bytes(b"half a file")
    with pytest.raises(WeightsUnavailable, match="damaged: its SHA-256 is"):
        load_lpips("vgg")


def test_published_files_are_fetched_once_and_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    (tmp_path / "there").mkdir()
    content = bytes(range(256)) * 9000
    (tmp_path / "there" / "file.pth").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    with serving(files_of(tmp_path / "there")) as url:
        good = PublishedFile("file-x.pth", f"{url}/file.pth", digest[:8])
        path, found = find_published(good, download=True)
        assert path == tmp_path / "hub" / "checkpoints" / "file-x.pth"
        assert path.read_bytes() == content and found == digest
        wrong = PublishedFile("file-y.pth", f"{url}/file.pth", "00000000")
        with pytest.raises(WeightsUnavailable, match="sent something else"):
            find_published(wrong, download=True)
        with pytest.raises(WeightsUnavailable, match="404"):
            find_published(PublishedFile("file-z.pth", f"{url}/none.pth", "0"), download=True)
    assert find_published(good, download=True) == (path, digest)  # the server is gone
    assert [f.name for f in path.parent.iterdir()] == ["file-x.pth"]


def test_servers_out_of_reach_are_given_up_soon(tmp_path):
    start = time.perf_counter()
    with closed_port() as url, pytest.raises(WeightsUnavailable, match="could not be fetched from http"):
        fetch(f"{url}/x.pth", tmp_path / "x.pth", digest="0")
    with silent_server() as url, pytest.raises(WeightsUnavailable, match="timed out"):
        fetch(f"{url}/x.pth", tmp_path / "x.pth", digest="0", timeout=0.3)
    assert time.perf_counter() - start < 3
    assert not list(tmp_path.iterdir())
