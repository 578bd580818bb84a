"""Sampling: views that do not change with their batch, guidance, the loop against diffusers' scheduler by hand."""

from __future__ import annotations

import math

import diffusers
import pytest
import torch
from tests.views.zero123.tiny import SIZE, make_tiny, pictures, write_hub

from one2345.build import build
from one2345.cli.compose import compose, to_plain
from one2345.errors import InputError
from one2345.geometry import PlannedView, load_plan, orbit_cameras, zero123_pose
from one2345.seeding import torch_rng
from one2345.views.synthesis.base import ViewRequest
from one2345.views.zero123 import (
    SCHEDULE,
    SCHEDULERS,
    LoadedZero123,
    Noise,
    Zero123Synthesizer,
    alpha_of,
    denoise,
    make_scheduler,
    pose_vector,
    save_zero123,
)
from one2345.views.zero123.sampling import set_steps


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny():
    return make_tiny()


def loaded(model, pose="delta"):
    return LoadedZero123(model=model, scheduler=SCHEDULE, pose=pose, facts={"weights": "tiny"})


def synthesiser(model, **options):
    options = {"steps": 3, "near_steps": 2, "device": "cpu"} | options
    return Zero123Synthesizer(weights=loaded(model), **options)


def near_requests():
    """The 32 near views of the published plan, in its order, and a picture per parent."""
    plan = load_plan("published").views(20.0)
    first = [view for view in plan if view.role == "stage1"]
    requests = [
        ViewRequest.of(view, first[view.parent], input_elevation=20.0)
        for view in plan
        if view.parent is not None
    ]
    shown = pictures(len(first), seed=9)
    return requests, shown[[view.parent for view in plan if view.parent is not None]]


def test_a_batch_of_32_equals_32_batches_of_one(tiny):
    requests, shown = near_requests()
    assert len(requests) == 32
    whole = synthesiser(tiny, chunk=32)(requests, shown, seed=1).images
    parts = synthesiser(tiny, chunk=5)(requests, shown, seed=1).images
    single = synthesiser(tiny)
    alone = torch.cat([single([r], p[None], seed=1).images for r, p in zip(requests, shown, strict=True)])
    assert torch.allclose(whole, alone, rtol=0, atol=1e-5)
    assert torch.allclose(parts, alone, rtol=0, atol=1e-5)
    order = torch.randperm(32, generator=torch.Generator().manual_seed(0)).tolist()
    turned = synthesiser(tiny, chunk=7)([requests[i] for i in order], shown[order], seed=1).images
    assert torch.allclose(turned, alone[order], rtol=0, atol=1e-5)
    # The views differ among themselves, and with the seed.
    assert (alone[0] - alone[1]).abs().mean() > 0.01
    assert (single(requests[:1], shown[:1], seed=2).images - alone[:1]).abs().mean() > 0.01


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_is_repeatable_per_view(tiny, name):
    requests, shown = near_requests()
    requests, shown = requests[2:6], shown[2:6]
    options = {"scheduler": {"name": name}, "near_steps": 4}
    whole = synthesiser(tiny, chunk=4, **options)(requests, shown, seed=1).images
    alone = synthesiser(tiny, chunk=1, **options)(requests[1:], shown[1:], seed=1).images
    assert torch.allclose(whole[1:], alone, rtol=0, atol=1e-5)


def test_a_solver_that_adds_noise_is_repeatable_per_view(tiny):
    requests, shown = near_requests()
    options = {"scheduler": {"name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++"}}
    whole = synthesiser(tiny, chunk=4, **options)(requests[:4], shown[:4], seed=1).images
    alone = synthesiser(tiny, chunk=1, **options)(requests[1:4], shown[1:4], seed=1).images
    assert torch.allclose(whole[1:], alone, rtol=0, atol=1e-5)
    calm = synthesiser(tiny, scheduler={"name": "DPMSolverMultistepScheduler"})(
        requests[:1], shown[:1], seed=1
    )
    assert (calm.images - whole[:1]).abs().mean() > 1e-3


def parts(tiny, count=3):
    condition = tiny.condition(pictures(count))
    poses = torch.tensor([pose_vector(30.0 * i, 5.0 * i) for i in range(count)])
    return condition, poses, [f"v{i}" for i in range(count)]


def test_guidance_of_one_is_the_conditional_branch(tiny):
    condition, poses, names = parts(tiny)
    given = {"steps": 3, "condition": condition, "poses": poses}

    calls = []
    handle = tiny.unet.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    results = {
        scale: denoise(
            tiny, make_scheduler(SCHEDULE), noise=[Noise.of(0, n) for n in names], guidance=scale, **given
        )
        for scale in (1.0, 1.0 + 1e-7, 0.0, 3.0)
    }
    handle.remove()
    assert calls == [3] * 3 + [6] * 9
    # both halves computed, and the unconditional one weighed with nothing
    assert torch.allclose(results[1.0], results[1.0 + 1e-7], rtol=0, atol=1e-4)
    assert (results[1.0] - results[3.0]).abs().mean() > 1e-2
    # without guidance's condition nothing is left of picture and pose
    other = denoise(
        tiny, make_scheduler(SCHEDULE), steps=3, condition=tiny.condition(pictures(3, seed=8)), poses=poses + 1,
        noise=[Noise.of(0, n) for n in names], guidance=0.0,
    )  # fmt: skip
    assert torch.allclose(results[0.0], other, rtol=0, atol=1e-5)
    assert (results[1.0] - results[0.0]).abs().mean() > 1e-2


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_loop_is_diffusers_scheduler_step_by_step(tiny, eta):
    """Written again here: two calls of the network, guidance, a step, with the noise handed to the scheduler."""
    condition, poses, names = parts(tiny)
    got = denoise(
        tiny, make_scheduler(SCHEDULE), steps=5, condition=condition, poses=poses,
        noise=[Noise.of(4, n) for n in names], guidance=2.5, eta=eta,
    )  # fmt: skip
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
        set_alpha_to_one=False, steps_offset=1,
    )  # fmt: skip
    scheduler.set_timesteps(5)
    streams = [torch_rng(4, "zero123", name, "steps") for name in names]
    x = torch.stack(
        [torch.randn(4, 16, 16, generator=torch_rng(4, "zero123", name, "start")) for name in names]
    )
    seen = torch.cat([condition.embeddings, poses], 1)
    token = tiny.projection(seen)[:, None]
    nothing = torch.zeros(1, 4, 16, 16)
    for t in scheduler.timesteps:
        predictions = []
        for i in range(3):
            one = tiny.unet(
                torch.cat([x[i : i + 1], condition.latents[i : i + 1]], 1), t, token[i : i + 1]
            ).sample
            none = tiny.unet(torch.cat([x[i : i + 1], nothing], 1), t, torch.zeros(1, 1, 24)).sample
            predictions.append(none + 2.5 * (one - none))
        added = torch.stack([torch.randn(4, 16, 16, generator=g) for g in streams]) if eta else None
        x = scheduler.step(torch.cat(predictions), t, x, eta=eta, variance_noise=added).prev_sample
    assert torch.allclose(got, x, rtol=1e-4, atol=1e-4)
    assert got.std() > 0.5


@pytest.mark.parametrize(
    ("steps", "count", "stride"), [(75, 77, 13), (76, 77, 13), (50, 50, 20), (12, 13, 83)]
)
def test_the_grid_of_the_original(steps, count, stride):
    scheduler = make_scheduler(SCHEDULE)
    grid = set_steps(scheduler, steps, published=True)
    assert grid.tolist() == [1 + stride * i for i in reversed(range(count))]
    # a step of the scheduler ends where the next begins
    assert 1000 // scheduler.num_inference_steps == stride
    ours = make_scheduler(SCHEDULE)
    assert ours.final_alpha_cumprod == ours.alphas_cumprod[0]


def test_the_grid_never_leaves_the_schedule():
    assert set_steps(make_scheduler(SCHEDULE), 1000, published=True).max() == 999


def test_near_views_take_their_own_number_of_steps(tiny):
    calls = []
    handle = tiny.unet.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    requests = [
        ViewRequest(name="a", parent=None, azimuth=10, elevation=0),
        ViewRequest(name="b", parent="a", azimuth=10, elevation=0),
        ViewRequest(name="c", parent=None, azimuth=20, elevation=0),
    ]
    done = []
    synthesiser(tiny, steps=5, near_steps=2)(requests, pictures(3), seed=0, report=done.append)
    handle.remove()
    assert calls == [4] * 5 + [2] * 2 and done == [2, 3]


def test_generated_pictures_are_snapped_to_white_and_the_input_is_not(tiny):
    picture = torch.full((1, 3, SIZE, SIZE), 253 / 255)
    picture[..., 10:20, 10:20] = 0.3
    white = torch.where(picture > 0.9, 1.0, picture)
    first = ViewRequest(name="a", parent=None, azimuth=10, elevation=0)
    near = ViewRequest(name="a", parent="b", azimuth=10, elevation=0)
    make = synthesiser(tiny, steps=2)
    assert torch.equal(make([near], picture, seed=0).images, make([near], white, seed=0).images)
    assert not torch.equal(make([first], picture, seed=0).images, make([first], white, seed=0).images)
    dark = picture.clamp(max=252 / 255)
    assert not torch.equal(make([near], dark, seed=0).images, make([near], white, seed=0).images)
    never = synthesiser(tiny, steps=2, snap_white=None)
    assert not torch.equal(never([near], picture, seed=0).images, never([near], white, seed=0).images)


def test_pose_vectors_are_those_of_the_cameras():
    """Of every request of the plan, from cameras in the world and from the request's offsets."""
    for elevation in (-10.0, 0.0, 20.0, 60.0):
        views = load_plan("published").views(elevation)
        first = [view for view in views if view.role == "stage1"]
        for view in views:
            parent = None if view.parent is None else first[view.parent]
            request = ViewRequest.of(view, parent, input_elevation=elevation)
            source = (0.0, elevation) if parent is None else (parent.azimuth, parent.elevation)
            cameras = orbit_cameras([source[0], view.azimuth], [source[1], view.elevation])
            expected = zero123_pose(cameras.c2w[0], cameras.c2w[1])
            got = torch.tensor(pose_vector(request.azimuth, request.elevation))
            assert torch.allclose(got, expected, atol=1e-5), view


def boxes():
    """A green body with a red knob on its front (towards -y) and a blue one on top."""
    import numpy as np

    from one2345.geometry import Mesh
    from one2345.objects import MeshObject

    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float) / 2
    faces = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6],
                      [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]])  # fmt: skip
    specs = [(0.4, (0, 0, 0), (0, 1, 0)), (0.12, (0, -0.25, 0), (1, 0, 0)), (0.12, (0, 0, 0.25), (0, 0, 1))]
    vertices = np.concatenate([corners * edge + np.array(at) for edge, at, _ in specs])
    colours = np.concatenate([np.tile(np.array(c, float), (8, 1)) for _, _, c in specs])
    mesh = Mesh(
        vertices=torch.tensor(vertices, dtype=torch.float32),
        faces=torch.tensor(np.concatenate([faces + 8 * i for i in range(3)])),
        colours=torch.tensor(colours, dtype=torch.float32),
    )
    return MeshObject(mesh, id="boxes")


def test_a_pose_turns_what_is_seen_the_right_way():
    """Renders of the request's camera: sin > 0 (azimuth up) moves a mark on the front to the left, a positive first
    entry (polar angle, so the camera sinks) moves the mark on top out of sight and the front's mark up."""
    thing = boxes()

    def marks(azimuth, elevation):
        view = PlannedView("s0", "stage1", None, azimuth % 360.0, 10.0 + elevation)
        request = ViewRequest.of(view, None, input_elevation=10.0)
        seen = thing.render(orbit_cameras([view.azimuth], [view.elevation], size=64)).rgb[0]
        found = {}
        for name, channel in (("front", 0), ("top", 2)):
            others = [c for c in range(3) if c != channel]
            where = (seen[channel] - seen[others].amax(0) > 0.15).nonzero().float()
            found[name] = (len(where), *(where.mean(0).tolist() if len(where) else (0, 0)))
        return pose_vector(request.azimuth, request.elevation), found

    _, straight = marks(0, 0)
    assert abs(straight["front"][2] - 31.5) < 1.0
    for azimuth in (20, 40):
        pose, turned = marks(azimuth, 0)
        assert pose[1] == pytest.approx(math.sin(math.radians(azimuth)))
        assert turned["front"][2] < straight["front"][2] - 3
        pose, turned = marks(-azimuth, 0)
        assert pose[1] < 0 and turned["front"][2] > straight["front"][2] + 3
    pose, lower = marks(0, -30)
    assert pose[0] == pytest.approx(math.radians(30))
    assert lower["front"][1] < straight["front"][1] - 3
    pose, higher = marks(0, 40)
    assert (
        pose[0] < 0
        and higher["top"][0] > straight["top"][0]
        and higher["front"][1] > straight["front"][1] + 3
    )


def test_models_that_are_told_the_polar_angle(tiny):
    """The fourth entry is the angle of the given picture's camera down from +z; the input's elevation must be known."""
    request = ViewRequest(name="a", parent="b", azimuth=0, elevation=-10, parent_elevation=-30.0)
    with pytest.raises(InputError, match=r"views\.input_elevation=DEGREES"):
        Zero123Synthesizer(weights=loaded(tiny, "polar"), device="cpu")([request], pictures(1), seed=0)
    given = Zero123Synthesizer(weights=loaded(tiny, "polar"), device="cpu", input_elevation=20.0)
    assert given._pose(request, given.load()) == pytest.approx([math.radians(10), 0, 1, math.radians(100)])
    assert synthesiser(tiny)._pose(request, loaded(tiny)) == pytest.approx([math.radians(10), 0, 1, 0])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_comes_near(tiny, dtype):
    requests = [ViewRequest(name="a", parent=None, azimuth=30, elevation=0)]
    full = synthesiser(tiny)(requests, pictures(1), seed=0).images
    half = synthesiser(make_tiny(), dtype=dtype, channels_last=True)(requests, pictures(1), seed=0).images
    assert half.dtype == torch.float32 and 0 < (half - full).abs().mean() < 0.05


def test_small_models_of_pixels_are_sampled_too():
    model = make_tiny(pixels=True)
    made = synthesiser(model)(
        [ViewRequest(name="a", parent=None, azimuth=30, elevation=0)], pictures(1), seed=0
    )
    assert made.images.shape == (1, 3, SIZE, SIZE) and made.masks.shape == (1, SIZE, SIZE)
    assert made.images.min() >= 0 and made.images.max() <= 1


def test_where_memory_runs_out_the_batch_is_halved(tiny, monkeypatch):
    requests, shown = near_requests()
    expected = synthesiser(tiny, chunk=4)(requests[:8], shown[:8], seed=1).images
    from one2345.views.zero123 import synthesizer as module

    true = module.denoise

    def small(model, scheduler, *, noise, **rest):
        made = true(model, scheduler, noise=noise, **rest)  # the generators have been used when it fails
        if len(noise) > 2:
            raise torch.OutOfMemoryError("too large")
        return made

    monkeypatch.setattr(module, "denoise", small)
    make = synthesiser(tiny, chunk=8)
    assert torch.allclose(make(requests[:8], shown[:8], seed=1).images, expected, rtol=0, atol=1e-5)
    assert make.notes[0] == "memory ran out with 8 views at once; went on with 4"
    assert make.facts()["happened"] == make.notes

    def never(*_, **__):
        raise torch.OutOfMemoryError("too large")

    monkeypatch.setattr(module, "denoise", never)
    with pytest.raises(InputError, match=r"one view at a time in torch\.float32; views\.offload=true"):
        make(requests[:4], shown[:4], seed=1)


def test_offload_moves_every_part_to_the_device_while_it_is_needed_and_back(tiny, monkeypatch):
    moves = []
    for name in ("unet", "codec", "image_encoder"):
        part = tiny.get_submodule(name)
        monkeypatch.setattr(part, "to", lambda device=None, n=name, **_: moves.append((n, str(device))))
    make = synthesiser(tiny, offload=True)
    request = [ViewRequest(name="a", parent=None, azimuth=30, elevation=0)]
    make.device = torch.device("cpu")
    make(request, pictures(1), seed=0)
    names = [name for name, _ in moves]
    assert names == ["image_encoder", "codec"] * 2 + ["unet"] * 2 + ["codec"] * 2


def test_overflow_is_said(tiny, monkeypatch):
    monkeypatch.setattr(type(tiny), "forward", lambda *_: torch.full((2, 4, 16, 16), torch.inf))
    with pytest.raises(InputError, match=r"overflows in torch\.float32; views\.dtype=bfloat16"):
        synthesiser(tiny)([ViewRequest(name="a", parent=None, azimuth=30, elevation=0)], pictures(1), seed=0)


def test_settings_that_make_no_sense(tiny):
    for options, message in (
        ({"steps": 0}, "steps=0 must be a whole number"),
        ({"chunk": 0}, "chunk=0"),
        ({"dtype": "int8"}, "dtype=int8 must be auto"),
        ({"guidance": -1.0}, "guidance=-1.0 must be >= 0"),
        ({"eta": 2.0}, "eta=2.0 from 0 to 1"),
        ({"pose": "x"}, "pose=x must be null, delta or polar"),
    ):
        with pytest.raises(InputError, match=message):
            synthesiser(tiny, **options)
    for chosen, message in (
        ({"name": "DPMSolverSDEScheduler"}, "not repeatable per view; it takes DDIMScheduler, "),
        ({"name": "os.system"}, "scheduler 'os.system' is unknown"),
        ({"name": "UniPCMultistepScheduler", "order": 2}, "takes no option 'order'"),
        ({"name": "DPMSolverMultistepScheduler", "algorithm_type": "x"}, "can't be made"),
    ):
        with pytest.raises(InputError, match=message):
            make_scheduler(SCHEDULE, chosen)
    with pytest.raises(InputError, match=r"views\.weights=DIR; other ways"):
        Zero123Synthesizer(weights=None).check()


def test_what_decides_the_pictures_is_described_without_loading(tmp_path, tiny, monkeypatch):
    from one2345.views.zero123 import synthesizer as module

    folder = write_hub(tmp_path / "m", tiny)
    make = Zero123Synthesizer(weights=str(folder), device="cpu", size=SIZE)
    monkeypatch.setattr(module, "load_zero123", lambda *_, **__: pytest.fail("loaded"))
    before = make.describe()
    assert len(before["sha256"]) == 9 and make.size == SIZE and make.check().path == folder
    (folder / "vae" / "config.json").write_text((folder / "vae" / "config.json").read_text() + " ")
    assert make.describe() != before
    monkeypatch.undo()
    make.load()
    assert make.describe() == {**before, "sha256": make.describe()["sha256"]}
    for name, value in (
        ("guidance", 2.0),
        ("near_steps", 9),
        ("eta", 0.5),
        ("snap_white", None),
        ("dtype", "float16"),
    ):
        assert (
            Zero123Synthesizer(weights=str(folder), device="cpu", size=SIZE, **{name: value}).describe()
            != before
        )


def test_a_folder_of_ours_is_described_the_same_before_and_after_it_is_loaded(tmp_path):
    save_zero123(tmp_path / "m", make_tiny(pixels=True), scheduler=SCHEDULE, pose="polar")
    make = Zero123Synthesizer(weights=tmp_path / "m", device="cpu")
    before = make.describe()
    assert before["pose"] == "polar" and before["size"] == make.size == SIZE
    assert make.load().model.size == SIZE and make.describe() == before and make.check() is None


@pytest.mark.parametrize(
    ("option", "calls"), [("zero123", 8 * 77 + 32 * 50), ("zero123_fast", 8 * 16 + 32 * 12)]
)
def test_configurations_sample_as_they_say(option, calls):
    """calls: of the network, halves of guidance not counted twice, for the 8 + 32 views of the published plan."""
    config = to_plain(compose("reconstruct", [f"views={option}", "device=cpu"]).config["views"])
    make = build(config, allow_any=True)
    counts = []
    for steps in (make.steps, make.near_steps):
        scheduler = make_scheduler(SCHEDULE, make.scheduler)
        counts.append(len(set_steps(scheduler, steps, published=make.scheduler is None)))
    assert 8 * counts[0] + 32 * counts[1] == calls
    assert make.weights == "kxic/zero123-xl" and make.snap_white == 253 and make.guidance == 3.0


def disc(radius=9.0, colour=(0.2, 0.5, 0.1)):
    grid = torch.arange(SIZE) + 0.5 - SIZE / 2
    alpha = (radius - (grid[:, None] ** 2 + grid[None] ** 2).sqrt() + 0.5).clamp(0, 1)
    return alpha, alpha * torch.tensor(colour)[:, None, None] + 1 - alpha


def test_alpha_of_a_disc_on_white_is_found_again():
    """Within the bound: coverage of which less than 4 % shows counts as none."""
    alpha, picture = disc()
    found = alpha_of(picture[None])[0]
    assert (found - alpha).abs().max() < 0.06
    assert (found[alpha == 1] == 1).all() and ((found > 0) & (found < 1)).sum() > 20


def test_white_within_the_object_stays_and_specks_of_the_background_do_not():
    alpha, picture = disc()
    picture[:, 14:18, 14:18] = 1.0
    noisy = torch.where(alpha == 0, 250 / 255, picture)
    found = alpha_of(torch.stack([picture, noisy]))
    assert (found[:, 12:20, 12:20] == 1).all() and (found[:, alpha == 0] == 0).all()
    assert (alpha_of(torch.ones(1, 3, 8, 8)) == 0).all()
    assert (alpha_of(torch.zeros(1, 3, 8, 8)) == 1).all()
