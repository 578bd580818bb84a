"""torch.compile of a step, and its precisions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.scenes import TINY, sphere_batch, tiny_model

from one2345.cli.fitting import check_compile, check_precision, compilation_explained
from one2345.errors import InputError
from one2345.geometry import Rays
from one2345.losses import WeightedLosses
from one2345.rendering import RenderSettings, ray_interval, render_rays
from one2345.training import AdamCosine, ReconstructionModule, TermSettings, compiling


def module(compile: bool | str = False) -> ReconstructionModule:
    loss = WeightedLosses(
        colour=1.0,
        mask=0.5,
        eikonal=0.1,
        sparsity=0.1,
        sdf=5.0,
        texture_consistency=1.0,
        view_consistency=1.0,
    )
    terms = TermSettings(render=RenderSettings(coarse=8, fine=8), uniform_points=64, source_rays=32)
    return ReconstructionModule(
        model=tiny_model(),
        loss=loss,
        optim=AdamCosine(lr=1e-3),
        terms=terms,
        model_config=TINY,
        compile=compile,
    )


def gradients(module: ReconstructionModule) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


@pytest.fixture
def by_dynamo(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """torch.compile traces, but generates no code: seconds instead of minutes. What was compiled, in order."""
    whole, seen = torch.compile, []

    def traced(function: Any, *, mode: str | None, backend: str) -> Any:
        seen.append(function.__name__)
        return whole(function, backend="eager")

    monkeypatch.setattr(compiling.torch, "compile", traced)
    yield seen
    torch._dynamo.reset()


@pytest.mark.slow
def test_a_compiled_step_is_the_same_step_and_the_state_has_the_same_names(by_dynamo: list[str]) -> None:
    plain, other = module(), module(compile=True)
    assert by_dynamo == ["forward", "render_rays"]
    assert list(plain.state_dict()) == list(other.state_dict())
    assert [n for n, _ in plain.named_parameters()] == [n for n, _ in other.named_parameters()]
    batch = sphere_batch()
    a, b = plain.losses(batch, 0)[0], other.losses(batch, 0)[0]
    a.backward()
    b.backward()
    assert torch.allclose(a, b, rtol=1e-4)  # compiled loops round otherwise than what is traced
    difference = gradients(plain) - gradients(other)
    assert float(difference.norm() / gradients(plain).norm()) < 1e-3


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        InputError, match=r"compile=true: needs a C\+\+ compiler .* no-such-compiler .* compile=false"
    ):
        compiling.compiled(len, True, cuda=False)
    monkeypatch.setattr(compiling.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="compile=max-autotune: needs Triton on a GPU"):
        compiling.compiled(len, "max-autotune", cuda=True)
    assert compiling.compiled(len, False) is len


def test_what_torch_says_of_a_failure_is_one_line() -> None:
    from torch._dynamo.exc import BackendCompilerFailed

    with (
        pytest.raises(InputError, match=r"compile=true: the step can't be compiled here .*compile=false"),
        compilation_explained({"compile": True}),
    ):
        raise BackendCompilerFailed(lambda: None, RuntimeError("no\nway"), None)
    with pytest.raises(RuntimeError), compilation_explained({"compile": True}):
        raise RuntimeError("another")


def test_settings_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="compile=fast: takes false, true, default, reduce-overhead"):
        check_compile("fast")
    with pytest.raises(InputError, match="precision=64-true: takes 32-true, bf16-mixed, 16-mixed"):
        check_precision({"precision": "64-true"})
    with pytest.raises(InputError, match="16-mixed needs a GPU"):
        check_precision({"precision": "16-mixed", "accelerator": "cpu"})
    check_precision({"precision": "bf16-mixed", "accelerator": "cpu"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "an old one")
    with pytest.raises(InputError, match="bf16-mixed: an old one has no bfloat16; 16-mixed works"):
        check_precision({"precision": "bf16-mixed"})
    check_precision({"precision": "16-mixed"})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_distances_whole(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is near that of float32, and so is the gradient's direction; what is about distances is float32."""
    seen: dict[str, torch.dtype] = {}

    def watched(field: Any, *args: Any, **options: Any) -> Any:
        found = render_rays(field, *args, **options)
        seen.update(volume=field.volume.values.dtype, inv_s=options["inv_s"].dtype)
        seen.update({n: getattr(found, n).dtype for n in ("sdf", "gradient", "weights", "rgb")})
        return found

    whole, half = module(), module()
    half._render = watched
    batch = sphere_batch()
    full, _ = whole.losses(batch, 0)
    full.backward()
    convolutions: set[torch.dtype] = set()
    half.model.volume_net.register_forward_hook(lambda m, i, o: convolutions.add(o.dtype))
    with torch.autocast("cpu", dtype=dtype):
        total, terms = half.losses(batch, 0)
    total.backward()
    assert convolutions == {dtype}  # it was in half precision at all
    assert set(seen.values()) == {torch.float32}, seen
    assert total.dtype == torch.float32 and {t.dtype for t in terms.values()} == {torch.float32}
    assert torch.allclose(full, total, rtol=0.02)
    a, b = gradients(whole), gradients(half)
    assert bool(b.isfinite().all()) and float(torch.nn.functional.cosine_similarity(a, b, 0)) > 0.98


def test_a_run_in_bf16_ends_near_the_one_in_float32(tmp_path: Path) -> None:
    import lightning.pytorch as pl
    from torch.utils.data import DataLoader

    losses = {}
    for precision in ("32-true", "bf16-mixed"):
        trainer = pl.Trainer(
            max_steps=4, accelerator="cpu", precision=precision, logger=False, enable_progress_bar=False,  # type: ignore[arg-type]
            enable_model_summary=False, enable_checkpointing=False, default_root_dir=tmp_path,
        )  # fmt: skip
        trainer.fit(module(), DataLoader([sphere_batch()] * 4, batch_size=None))  # type: ignore[arg-type]
        losses[precision] = float(trainer.callback_metrics["loss/total"])
    assert losses["bf16-mixed"] == pytest.approx(losses["32-true"], rel=0.03)


@pytest.mark.slow
def test_with_a_fixed_budget_the_rendering_is_one_graph() -> None:
    settings = RenderSettings(coarse=8, fine=8, colour_budget=0.5)
    trained, batch = module(), sphere_batch()
    field = trained.field(batch)
    rays = Rays(origins=batch.rays.origins, directions=batch.rays.directions)
    near, far, _ = ray_interval(field, field.box, rays)
    noise = torch.rand(1, rays.origins.shape[1], settings.coarse)

    def render(noise: torch.Tensor) -> torch.Tensor:
        return render_rays(
            field, rays.origins, rays.directions, near, far, inv_s=trained.model.variance(), settings=settings,
            noise=noise,
        ).rgb  # fmt: skip

    whole = torch.compile(render, backend="eager", fullgraph=True)
    assert torch.allclose(whole(noise), render(noise), atol=1e-5)
    torch._dynamo.reset()


@pytest.mark.slow
def test_the_network_is_one_graph() -> None:
    model, batch = tiny_model(), sphere_batch()

    def volume(images: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        field = model(images, masks, batch.cameras, reference=batch.reference)
        return field.volume.values, field.colour_maps

    expected = volume(batch.images, batch.masks)
    found = torch.compile(volume, backend="eager", fullgraph=True)(batch.images, batch.masks)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    parts = [model.feature_net.conv0[0][0].weight, model.volume_net.conv0[0].weight]
    one, other = (
        torch.autograd.grad(sum(x.square().sum() for x in values), parts) for values in (found, expected)
    )
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-5 * float(b.abs().max())) for a, b in zip(one, other))
    torch._dynamo.reset()
