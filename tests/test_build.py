"""build(): construction, what is refused, and what its errors say."""

import functools
import os

import pytest
import torch

from one2345.build import build, did_you_mean, resolve
from one2345.errors import InputError
from one2345.geometry import Box
from one2345.geometry.plans import RingRule, ViewPlan

BOX = {"_target_": "one2345.geometry.Box", "half_edge": 0.5, "resolution": 8}


def test_builds_nested_nodes_inside_out():
    plan = build(
        {
            "_target_": "one2345.geometry.plans.ViewPlan",
            "name": "x",
            "stage1": [{"azimuth": 0, "elevation_offset": 0}],
            "sources": ["stage1"],
            "ring": {
                "_target_": "one2345.geometry.plans.RingRule",
                "threshold": 15,
                "above": -30,
                "below": 30,
            },
        }
    )
    assert isinstance(plan, ViewPlan)
    assert plan.ring == RingRule(threshold=15, above=-30, below=30)


def test_extra_keywords_join_and_win():
    box = build(BOX, resolution=4)
    assert isinstance(box, Box)
    assert (box.half_edge, box.resolution) == (0.5, 4)


def test_partial_waits_for_the_rest():
    made = build({"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 0.5})
    assert isinstance(made, functools.partial)
    optimizer = made([torch.nn.Parameter(torch.zeros(1))])
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.defaults["lr"] == 0.5


def test_schedulers_of_diffusers_are_allowed():
    assert (
        build({"_target_": "diffusers.DDIMScheduler", "num_train_timesteps": 10}).config.num_train_timesteps
        == 10
    )


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "builtins.exec",
        "subprocess.Popen",
        "torch.load",
        "torch.hub.load",
        "pickle.loads",
        "one2345x.Box",
        "one2345",
        "torch.optim",
        "one2345.paths.Path",  # imported there, not defined there
        "one2345.cli.app.os.system",
        "one2345.cli.run_folder.shutil.rmtree",
        "one2345.checkpoints.torch.load",
        "one2345.checkpoints.pickle.loads",
        "one2345.seeding.hashlib.blake2b",
        "one2345.geometry.Box.__class__",
        "one2345.geometry.Box.__init__.__globals__",
        "one2345.geometry.cameras.torch.load",
        "one2345.build.build",  # would build again, with allow_any
        "one2345.build.resolve",
        "one2345.cli.app.run",
        "one2345.cli.train.main",
        "torch.optim.optimizer.torch.load",
        "torch.optim.lr_scheduler.warnings.warn",
        "torch.optim.Adam.load_state_dict",
        "torch.optim.swa_utils.update_bn",
        "diffusers.DiffusionPipeline",
        "diffusers.DiffusionPipeline.from_pretrained",
        "diffusers.DDIMScheduler.from_pretrained",
        "diffusers.utils.import_utils.importlib.import_module",
        "one2345..Box",
        ".one2345.geometry.Box",
        "one2345.geometry.Box;os",
        "one2345.geometry.Вox",
    ],
)
def test_strangers_may_not_name(target, monkeypatch):
    monkeypatch.setattr(os, "system", lambda *a: pytest.fail("executed"))
    with pytest.raises(InputError):
        resolve(target)
    with pytest.raises(InputError):
        build({**BOX, "resolution": {"_target_": target}})


def test_a_function_that_a_module_of_ours_merely_imports_is_refused(monkeypatch):
    import one2345.geometry.boxes as module

    monkeypatch.setattr(module, "harmless", os.system, raising=False)
    with pytest.raises(InputError, match="not allowed"):
        resolve("one2345.geometry.boxes.harmless")
    monkeypatch.setattr(module, "harmless", os, raising=False)
    with pytest.raises(InputError, match="not allowed"):
        resolve("one2345.geometry.boxes.harmless.system")


def test_the_user_may_name_any_class():
    assert build({"_target_": "fractions.Fraction", "numerator": 1, "denominator": 2}, allow_any=True) == 0.5
    with pytest.raises(InputError, match="not allowed"):
        build({"_target_": "fractions.Fraction", "numerator": 1})


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({**BOX, "half_egde": 1}, ["one2345.geometry.Box", "'half_egde'", "'half_edge'"]),
        (
            {"_target_": "one2345.geometry.plans.ViewPlan"},
            ["one2345.geometry.plans.ViewPlan", "needs", "'name'"],
        ),
        ({"_target_": "one2345.geometry.Bx"}, ["'Bx'", "'Box'"]),
        ({"_target_": "one2345.geometri.Box"}, ["geometri", "'geometry'"]),
        ({"half_edge": 1}, ["_target_"]),
        ({"_target_": 3}, ["dotted name", "3"]),
        ({**BOX, "_partial_": "yes"}, ["_partial_", "'yes'"]),
        ({**BOX, "a b": 1}, ["'a b'"]),
    ],
)
def test_errors_name_the_target_the_keyword_and_the_nearest(node, words):
    with pytest.raises(InputError) as caught:
        build(node)
    for word in words:
        assert word in str(caught.value)


def test_errors_say_where_in_the_configuration():
    with pytest.raises(InputError, match=r"at inner\[1\]\.box"):
        build({"_target_": "builtins.dict", "inner": [0, {"box": {**BOX, "x": 1}}]}, allow_any=True)


def test_a_value_that_a_constructor_refuses_is_an_input_error():
    with pytest.raises(InputError, match=r"torch\.optim\.SGD.*learning rate"):
        build({"_target_": "torch.optim.SGD", "params": [torch.nn.Parameter(torch.zeros(1))], "lr": -1.0})


def test_a_defect_within_a_constructor_is_no_input_error():
    with pytest.raises(TypeError):
        build({"_target_": "builtins.int", "_partial_": False, "x": 1}, allow_any=True)


def test_a_missing_package_is_named():
    with pytest.raises(InputError, match="no package 'nosuchpackage'"):
        resolve("nosuchpackage.Thing", allow_any=True)


def test_did_you_mean():
    assert did_you_mean("modle", ["model", "loss"]) == "; did you mean 'model'?"
    assert did_you_mean("zzz", ["model", "loss"]) == ""
