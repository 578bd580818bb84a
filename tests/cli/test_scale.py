"""scale=auto."""

import json

import pytest
import torch
from tests.training.scenes import TINY, tiny_model

from one2345 import checkpoints
from one2345.checkpoint_folder import step_name
from one2345.checkpoints import KEY, save_release, training_record
from one2345.cli import app, scale
from one2345.cli.evaluate import COMMAND as EVALUATE
from one2345.cli.train import COMMAND
from one2345.errors import InputError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("device", "expected"), [(None, "laptop"), ("Some GPU", "gpu")])
@pytest.mark.parametrize("argv", [[], ["scale=auto"]])
def test_auto_follows_the_machine_and_says_so_in_one_line(device, expected, argv, monkeypatch, capsys):
    monkeypatch.setattr(scale, "cuda_device", lambda: device)
    config = app.configure(COMMAND, argv)
    lines = capsys.readouterr().out.splitlines()
    assert config["scale"]["name"] == config["run"]["choices"]["scale"] == expected
    assert len(lines) == 1
    assert lines[0].startswith(f"scale={expected}: ")
    assert "GPU" in lines[0]
    assert "scale=laptop|gpu|paper" in lines[0]


def test_an_explicit_scale_is_taken_without_a_word(monkeypatch, capsys):
    monkeypatch.setattr(scale, "cuda_device", lambda: pytest.fail("looked"))
    assert app.configure(COMMAND, ["scale=paper"])["scale"]["name"] == "paper"
    assert capsys.readouterr().out == ""


def test_training_on_the_cpu_is_laptop_whatever_the_machine_has(monkeypatch):
    monkeypatch.setattr(scale, "cuda_device", lambda: "Some GPU")
    assert app.configure(COMMAND, ["trainer.accelerator=cpu"])["scale"]["name"] == "laptop"


def test_auto_leaves_the_run_folder_alone(monkeypatch):
    monkeypatch.setattr(scale, "cuda_device", lambda: None)
    on_cpu = app.configure(COMMAND, [])["run"]["dir"]
    monkeypatch.setattr(scale, "cuda_device", lambda: "Some GPU")
    assert app.configure(COMMAND, ["scale=auto"])["run"]["dir"] == on_cpu


def test_a_resumed_run_keeps_its_scale(monkeypatch, here, capsys):
    monkeypatch.setattr(scale, "cuda_device", lambda: None)
    first = app.configure(COMMAND, [])
    folder = here / "experiments" / "runs" / "sdf_base" / "default-s0"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / step_name(3)).touch()
    (folder / "config.json").write_text(json.dumps(first))
    monkeypatch.setattr(scale, "cuda_device", lambda: "Some GPU")
    assert app.configure(COMMAND, [])["scale"]["name"] == "laptop"
    assert "continued" in capsys.readouterr().out
    assert app.configure(COMMAND, ["run.overwrite=true"])["scale"]["name"] == "gpu"


def evaluating(*argv):
    return app.configure(EVALUATE, ["data=shapes", *argv])["run"]["choices"]["scale"]


@pytest.fixture
def model():
    return app.configure(COMMAND, ["scale=laptop"])["model"]


def test_a_release_is_measured_at_the_scale_it_was_trained_at(monkeypatch, here, capsys):
    monkeypatch.setattr(scale, "cuda_device", lambda: None)
    (here / "config.json").write_text('{"run": {"choices": {"scale": "laptop_long"}}}')  # not the release's
    monkeypatch.setattr(checkpoints, "PRETRAINED", here / "weights" / "x.safetensors")
    checkpoints.PRETRAINED.parent.mkdir()
    save_release(checkpoints.PRETRAINED, tiny_model(), {"model": TINY, "scale": "gpu"})
    assert evaluating("ckpt=pretrained") == "gpu"
    assert "that of the checkpoint" in capsys.readouterr().out
    assert evaluating("ckpt=pretrained", "scale=paper") == "paper"
    save_release(checkpoints.PRETRAINED, tiny_model(), {"model": TINY})
    assert evaluating("ckpt=pretrained") == "laptop"
    save_release(checkpoints.PRETRAINED, tiny_model(), {"model": TINY, "scale": ["gpu"]})
    with pytest.raises(InputError, match=r"x\.safetensors was made at scale=.*gpu"):
        evaluating("ckpt=pretrained")


@pytest.mark.parametrize("beside", ["[1]", "{", "{}", '{"run": 3}', '{"run": {"choices": "x"}}', None])
def test_a_checkpoint_beside_a_foreign_config_has_no_scale(beside, monkeypatch, here, model):
    monkeypatch.setattr(scale, "cuda_device", lambda: None)
    torch.save({"state_dict": {}, KEY: training_record(model)}, here / "x.ckpt")
    if beside is not None:
        (here / "config.json").write_text(beside)
    assert evaluating("ckpt=x.ckpt") == "laptop"


def test_a_checkpoint_is_measured_at_the_scale_of_its_run(monkeypatch, here, model):
    monkeypatch.setattr(scale, "cuda_device", lambda: None)
    file = here / "run" / "checkpoints" / step_name(3)
    file.parent.mkdir(parents=True)
    torch.save({"state_dict": {}, KEY: training_record(model)}, file)
    (here / "run" / "config.json").write_text(json.dumps(app.configure(COMMAND, ["scale=gpu"])))
    for ckpt in (file, here / "run", file.parent, f"run/checkpoints/{step_name(3)}"):
        assert evaluating(f"ckpt={ckpt}") == "gpu"


@pytest.mark.parametrize("launcher", ["submitit_slurm", "slurm"])
def test_jobs_that_run_elsewhere_must_name_their_scale(launcher):
    with pytest.raises(InputError, match=f"hydra/launcher={launcher}.*name the scale"):
        scale.choose({}, launcher=launcher, stored=None)


def test_a_sweep_on_slurm_without_a_scale_is_refused(here, capsys):
    assert app.execute(COMMAND, ["-m", "hydra/launcher=submitit_slurm", "seed=1,2"]) == 2
    assert "name the scale" in capsys.readouterr().err
    assert list(here.iterdir()) == []
