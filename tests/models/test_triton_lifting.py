"""The lifting's CUDA kernels in Triton's interpreter, which needs no CUDA device, against the plain operations."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("triton") is None, reason="Triton is not installed; it comes with one2345[bench]"
    ),
]

PROGRAM = """
import sys
import torch
from one2345.geometry import Box, load_plan
from one2345.models import cost_volume
from one2345.models.triton import lifting

integer, leaking, signed, fewest, channels, sides = (int(x) for x in sys.argv[1:])
torch.manual_seed(0)
cameras = load_plan("ring8").cameras(10.0, 32)[:5]
rules = cost_volume.Lifting(integer_pixels=bool(integer), leaking=bool(leaking))
points = Box(half_edge=1.4, resolution=6).nodes().reshape(-1, 3)[:-5]  # some behind the cameras, some beside
table = torch.randn(5, 14, 12, channels)
matrices = rules.matrices(cameras, (14, 12)).float()
normals = None if sides == 1 else torch.nn.functional.normalize(torch.randn_like(points), dim=-1)
common = table, points, matrices, normals, cameras.centres.float()
switches = bool(integer), bool(leaking)
want, counts, totals = cost_volume.plain_lift(*common, *switches, bool(signed), fewest)
got, counted, totalled = lifting.lift(*common, *switches, bool(signed), fewest)
assert torch.equal(counts, counted)
torch.testing.assert_close(totalled, totals, atol=1e-5, rtol=1e-5)
assert 0 < (counts == 0).sum() < len(counts)
torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)
upstream = torch.randn_like(want)
wanted = cost_volume.plain_lift_backward(upstream, *common, *switches)
sent = lifting.lift_backward(upstream, *common, *switches)
assert wanted.abs().max() > 1
torch.testing.assert_close(sent, wanted, atol=1e-4, rtol=1e-3)
"""


@pytest.mark.parametrize(
    "options",  # integer, leaking, signed, fewest, channels, sides
    ["0 0 0 1 3 1", "1 1 1 2 16 1", "1 0 0 2 4 1", "0 1 1 1 2 1", "0 0 0 1 3 2", "1 1 1 2 4 2"],
)
def test_kernels_equal_the_plain_operations(options: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *options.split()],
        env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from one2345.models.triton import lifting

def compiled(kernel, arrays, numbers, **constants):
    signature = {name: "*i64" if name == "counts" else "*fp32" for name in arrays.split()}
    signature |= dict.fromkeys(numbers.split(), "i32") | dict.fromkeys(constants, "constexpr")
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    return triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]

sizes = dict(C=16, WIDTH=16, BLOCK=lifting.POINTS)
for on in (True, False):
    rules = dict(INTEGER=on, LEAKING=on, SIDES=2 - on)
    arrays = "table points matrices normals centres rows counts totals"
    assert compiled(lifting._forward, arrays, "p v h w fewest", **sizes, **rules, SIGNED=on)
    arrays = "upstream table points matrices normals centres result"
    ptx = compiled(lifting._backward, arrays, "p v h w", **sizes, **rules)
    assert "red." in ptx or "atom." in ptx
"""


def test_kernels_compile_for_a_hopper_device() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
