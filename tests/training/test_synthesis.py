"""Training of view synthesis: dropout, averages, rates, targets of prediction, gradients, runs that resume."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader

from one2345.checkpoint_folder import step_name
from one2345.data import PairBatch
from one2345.errors import InputError
from one2345.geometry import orbit, zero123_pose
from one2345.seeding import torch_rng
from one2345.training import (
    AdamCosine,
    ConditionDropout,
    RunCheckpoints,
    ValidationSampling,
    ViewSynthesisModule,
    WeightAverage,
)
from one2345.training.synthesis_module import shuffle_poses
from one2345.views.zero123 import Zero123Synthesizer, load_zero123, new_zero123

SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
}
FEW = ValidationSampling(
    steps=2, guidance=1.0, eta=0.0, scheduler={"name": "DDIMScheduler", "timestep_spacing": "trailing"}
)
TRAINED = ("unet", "projection", "image_encoder")


def tiny(prediction: str = "sample", *, seed: int = 0):
    torch.manual_seed(seed)
    return new_zero123(
        size=16,
        fold=4,
        channels=[32],
        attention=[True],
        heads=2,
        token=32,
        encoder={"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "image_size": 16},
        scheduler=SCHEDULE | {"prediction_type": prediction},
    )


def module(prediction: str = "sample", **settings) -> ViewSynthesisModule:
    settings = {"optim": AdamCosine(lr=2e-3, warmup=2), "trained": TRAINED, "sampling": FEW} | settings
    return ViewSynthesisModule(model=tiny(prediction), **settings)


def pairs(count: int = 4, *, seed: int = 0) -> PairBatch:
    """A disc whose colour the source shows, and whose place says where the target's camera is."""
    generator = torch_rng("pairs", seed)
    turn = torch.rand(count, generator=generator) * 180 - 90
    colour = torch.rand(count, 3, 1, 1, generator=generator) * 0.7
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")

    def disc(at: torch.Tensor) -> torch.Tensor:
        inside = (((x - 7.5 - at[:, None, None]) ** 2 + (y - 7.5) ** 2) < 9).float()[:, None]
        return inside * colour + 1 - inside

    zero = torch.zeros(count)
    return PairBatch(
        ids=tuple(f"disc-{i}" for i in range(count)),
        seeds=tuple(1000 * seed + i for i in range(count)),
        sources=disc(zero),
        targets=disc(turn / 22),
        poses=zero123_pose(orbit(zero, zero), orbit(turn, zero)),
        near=torch.zeros(count, dtype=torch.bool),
    )


def test_shares_of_dropped_conditions():
    dropout = ConditionDropout(token=0.05, image=0.1, both=0.15)
    token, image = dropout.kept(torch.rand(200_000, generator=torch_rng("dropout"), dtype=torch.float64))
    shares = [(~token & image), (token & ~image), (~token & ~image), (token & image)]
    found = [float(s.double().mean()) for s in shares]
    assert found == pytest.approx([0.05, 0.1, 0.15, 0.7], abs=0.004)
    assert (ConditionDropout().token, ConditionDropout().image, ConditionDropout().both) == (0.05, 0.05, 0.05)
    with pytest.raises(InputError, match="dropout"):
        ConditionDropout(token=0.6, image=0.6)


@pytest.mark.parametrize(("lost", "token", "image"), [("token", 0, 1), ("image", 1, 0), ("both", 0, 0)])
def test_what_is_dropped_is_zero_for_the_network(lost, token, image):
    only = {"token": 0.0, "image": 0.0, "both": 0.0} | {lost: 1.0}
    made, seen = module(dropout=ConditionDropout(**only)), {}
    made._denoiser = lambda noisy, t, token, latents: seen.update(token=token, latents=latents) or noisy
    made.loss(pairs())
    assert (int(seen["token"].any()), int(seen["latents"].any())) == (token, image)


def test_the_average_in_closed_form():
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    average = WeightAverage([("w", weight)], decay=0.15)
    expected = 1.0
    for n, value in enumerate([3.0, -2.0, 5.0]):
        weight.data.fill_(value)
        d = min(0.15, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * value
        average.update()
    with average.in_use():
        assert weight.item() == pytest.approx(expected)
    assert weight.item() == 5.0
    other = WeightAverage([("w", torch.nn.Parameter(torch.zeros(1)))], decay=0.15)
    other.load_state_dict(copy.deepcopy(average.state_dict()))
    assert other.steps == 3 and other.state_dict()["average"]["w"].item() == pytest.approx(expected)
    with pytest.raises(ValueError, match="other weights"):
        WeightAverage([("v", weight)]).load_state_dict(average.state_dict())


def test_the_projection_learns_at_ten_times_the_rate(monkeypatch):
    made = module(pose_rate=10.0)
    made.trainer = pl.Trainer(max_steps=10, accelerator="cpu", logger=False, enable_checkpointing=False)
    monkeypatch.setattr(pl.Trainer, "estimated_stepping_batches", 10)
    optimizer = made.configure_optimizers()["optimizer"]
    rates = {id(p): g["initial_lr"] for g in optimizer.param_groups for p in g["params"]}
    wanted = {id(p) for p in made.model.projection.parameters()}
    for parameter, rate in rates.items():
        assert rate == pytest.approx(2e-2 if parameter in wanted else 2e-3)
    assert len(rates) == sum(1 for _ in made.model.parameters())


def test_only_the_parts_that_are_named_learn():
    made = module(trained=("unet", "projection"))
    made.loss(pairs()).backward()
    assert all(p.grad is None and not p.requires_grad for p in made.model.image_encoder.parameters())
    assert not made.model.image_encoder.training and made.model.unet.training
    assert made.train().model.unet.training and not made.model.image_encoder.training
    assert made.model.projection.weight.grad.abs().sum() > 0
    with pytest.raises(InputError, match=r"synthesis\.trained"):
        module(trained=("vae",))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_a_perfect_prediction_has_no_loss(prediction):
    """The target of each kind gives the clean latents back through the scheduler's own step."""
    made = module(prediction)
    clean, noise = torch.randn(2, 2, 48, 4, 4, generator=torch_rng("clean"))
    for t in (10, 500, 900):
        timesteps = torch.tensor([t, t])
        noisy = made.noising.add_noise(clean, noise, timesteps)
        made.noising.set_timesteps(1000)
        found = made.noising.step(made.wanted(clean, noise, timesteps), t, noisy).pred_original_sample
        assert torch.allclose(found, clean, atol=1e-3)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_min_snr_weights_the_error_of_the_picture(prediction):
    """Errors of noise and velocity, weighted, are min(snr, gamma) times that of the picture they stand for."""
    made = module(prediction, min_snr=5.0)
    timesteps = torch.tensor([5, 300, 800])
    kept = made.noising.alphas_cumprod[timesteps]
    snr = kept / (1 - kept)
    per_picture = {"epsilon": snr, "v_prediction": snr + 1, "sample": torch.ones(3)}[prediction]
    assert torch.allclose(made.weight(timesteps) * per_picture, snr.clamp_max(5.0), rtol=1e-4)
    assert torch.equal(module(prediction).weight(timesteps), torch.ones(3))


def test_a_pair_has_the_same_loss_in_any_batch():
    made, batch = module().eval(), pairs(4)
    parts = [replace(batch, **{k: v[i : i + 2] for k, v in vars(batch).items()}) for i in (0, 2)]
    whole = float(made.loss(batch))
    assert float(sum(made.loss(p) for p in parts)) / 2 == pytest.approx(whole, rel=1e-5)


def test_checkpointing_gives_the_same_gradients():
    plain, saving = module(), module(gradient_checkpointing=True)
    saving.model.load_state_dict(plain.model.state_dict())
    assert saving.model.unet.is_gradient_checkpointing
    for made in (plain, saving):
        made.loss(pairs()).backward()
    for (name, a), b in zip(plain.model.named_parameters(), saving.model.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), name
        if a.grad is not None:
            assert torch.allclose(a.grad, b.grad, atol=1e-7), name


def test_shuffled_poses_are_all_wrong_and_stay_among_their_kind():
    batch = replace(pairs(6), near=torch.tensor([False, False, False, True, True, True]))
    shuffled = shuffle_poses(batch)
    assert all(not torch.equal(a, b) for a, b in zip(batch.poses, shuffled.poses, strict=True))
    for kind in (batch.near, ~batch.near):
        assert torch.equal(batch.poses[kind].sort(0).values, shuffled.poses[kind].sort(0).values)


class Batches(torch.utils.data.Dataset):
    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> PairBatch:
        return pairs(8, seed=index)


def fit(
    made: ViewSynthesisModule, folder: Path, steps: int, resume: Path | None = None, *, batches: int
) -> Path:
    trainer = pl.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[RunCheckpoints(folder=str(folder), every_steps=4)],
    )
    folder.mkdir(exist_ok=True)
    loader = DataLoader(Batches(batches), batch_size=None, shuffle=False)
    trainer.fit(made, loader, ckpt_path=resume, weights_only=True)
    return folder / step_name(steps)


def test_a_run_that_resumes_ends_as_one_without_a_stop(tmp_path):
    # The same schedule for both: the rate depends on the number of steps that are planned.
    constant = AdamCosine(lr=2e-3, floor=1.0)
    whole = module(optim=constant)
    fit(whole, tmp_path / "whole", 12, batches=4)
    last = fit(module(optim=constant), tmp_path / "parts", 8, batches=4)
    parts = module(optim=constant)
    fit(parts, tmp_path / "parts", 12, last, batches=4)
    for (name, a), b in zip(whole.state_dict().items(), parts.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert whole.average.steps == parts.average.steps == 12
    for name, value in whole.average.state_dict()["average"].items():
        assert torch.equal(value, parts.average.state_dict()["average"][name])
    stored = torch.load(tmp_path / "parts" / step_name(12), weights_only=True)
    assert stored["average"]["steps"] == 12


def test_training_learns_what_the_pose_means_and_leaves_weights_that_load(tmp_path):
    made = module(optim=AdamCosine(lr=3e-3, floor=0.05, warmup=10), terminal=0.5, decay=0.97)
    batch = pairs(32, seed=99)
    before = made.loss(batch).item()
    fit(made, tmp_path, 250, batches=250)
    assert made.loss(batch).item() < 0.3 * before
    with made.average.in_use():
        own = (made.sample(batch) - batch.targets).square().mean()
        wrong = (made.sample(shuffle_poses(batch)) - batch.targets).square().mean()
        expected = made.sample(batch)
    mean = (made.mean_image() - batch.targets).square().mean()
    print(own, mean, wrong, before, made.loss(batch).item())
    assert own < 0.6 * mean and own < 0.6 * wrong
    made.save(tmp_path / "weights", record={"steps": 150})
    loaded = load_zero123(tmp_path / "weights")
    again = ViewSynthesisModule(model=loaded, optim=AdamCosine(), sampling=FEW)
    assert torch.allclose(again.sample(batch), expected, atol=1e-5)
    assert Zero123Synthesizer(weights=tmp_path / "weights").size == 16
