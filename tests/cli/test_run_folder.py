"""Run folders: stable names, plain JSON, what resume does."""

import json

import pytest
import torch

from one2345.checkpoint_folder import step_name
from one2345.checkpoints import KEY, training_record
from one2345.cli import app, run_folder
from one2345.cli.evaluate import COMMAND as EVALUATE
from one2345.cli.train import COMMAND
from one2345.errors import InputError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def folder_of(*overrides):
    return app.configure(COMMAND, ["scale=laptop", *overrides])["run"]["dir"]


def test_the_same_command_names_the_same_folder_and_another_another(here):
    first = folder_of("trainer.max_steps=3", "seed=1")
    assert folder_of("seed=1", "trainer.max_steps=3") == first
    assert first.startswith(str(here / "experiments" / "runs" / "sdf_base"))
    others = [
        folder_of("trainer.max_steps=4", "seed=1"),
        folder_of("trainer.max_steps=3", "seed=2"),
        folder_of(),
    ]
    assert len({first, *others}) == 4


def test_how_to_resume_or_log_does_not_rename_the_run():
    assert folder_of("resume=must", "logger=tensorboard", "run.overwrite=true") == folder_of()


def test_the_folder_can_be_told(here):
    assert folder_of("run.id=mine", "run.root=else where") == str(here / "else where" / "sdf_base" / "mine")
    assert folder_of("experiment=seed_summary", "run.id=mine").endswith("/seed_summary/mine")


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "../../x"])
def test_a_run_id_stays_inside_the_root(bad):
    with pytest.raises(InputError, match=r"run\.id"):
        run_folder.run_id([], 0, given=bad)


def test_config_json_is_plain_json_of_everything(here):
    config = app.configure(COMMAND, ["scale=laptop", "data.root=it's, ü"])
    path = run_folder.write_config(config, here / "run")
    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == config
    assert "${" not in text
    assert config["run"]["choices"]["model"] == "sdf_base"
    assert config["run"]["overrides"] == ["scale=laptop", "data.root=it's, ü"]
    assert "hydra" not in config
    assert sorted(p.name for p in path.parent.iterdir()) == ["config.json"]


def test_a_value_that_json_cannot_hold_is_refused(here):
    with pytest.raises(InputError, match="JSON"):
        run_folder.write_config({"x": float("nan")}, here)
    with pytest.raises(InputError, match="JSON"):
        app.configure(COMMAND, ["scale=laptop", "loss.colour=inf"])


def test_resume(here):
    assert run_folder.resume_checkpoint(here, "auto") is None
    assert run_folder.resume_checkpoint(here, "never") is None
    with pytest.raises(InputError, match="resume=must"):
        run_folder.resume_checkpoint(here, "must")
    with pytest.raises(InputError, match="did you mean 'auto'"):
        run_folder.resume_checkpoint(here, "atuo")
    last = write_checkpoint(here / "checkpoints" / step_name(3), {})
    for resume in ("auto", "must", str(last)):
        assert run_folder.resume_checkpoint(here, resume) == last
    with pytest.raises(InputError, match="resume=never"):
        run_folder.resume_checkpoint(here, "never")


def write_checkpoint(file, model):
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {}, KEY: training_record(model)}, file)
    return file


@pytest.fixture
def started(monkeypatch):
    """Configurations with which a command's main() was called."""
    seen = []
    monkeypatch.setattr(app.Command, "main", lambda self, config: seen.append(config))
    return seen


def test_a_checkpoint_of_another_model_is_not_continued(here, capsys, started):
    config = app.configure(COMMAND, ["scale=laptop", "run.id=x"])
    folder = run_folder.write_config(config, here / "experiments/runs/sdf_base/x").parent
    write_checkpoint(folder / "checkpoints" / step_name(3), config["model"])
    assert app.execute(COMMAND, ["scale=laptop", "run.id=x", "scale.volume=24"]) == 2
    error = capsys.readouterr().err
    assert "another model" in error
    assert "model.resolution: 48 -> 24" in error
    assert json.loads((folder / "config.json").read_text()) == config
    assert app.execute(COMMAND, ["scale=laptop", "run.id=x", "optim.lr=0.5"]) == 0
    assert "changed: optim.lr" in capsys.readouterr().out
    assert len(started) == 1


@pytest.mark.parametrize("beside", [None, "same", "foreign", "torn"])
def test_the_record_within_the_checkpoint_decides(here, capsys, started, beside):
    """A config.json beside the file, which may be missing or anybody's, does not."""
    model = app.configure(COMMAND, ["scale=laptop", "scale.volume=24"])["model"]
    now = app.configure(COMMAND, ["scale=laptop"])
    file = write_checkpoint(here / "given" / "checkpoints" / "some.ckpt", model)
    text = {"same": json.dumps(now), "foreign": '{"model": "bert", "run": []}', "torn": "{"}
    if beside:
        (here / "given" / "config.json").write_text(text[beside])
    assert app.execute(COMMAND, ["scale=laptop", f"resume={file}"]) == 2
    assert "model.resolution: 24 -> 48" in capsys.readouterr().err
    write_checkpoint(file, now["model"])
    assert app.execute(COMMAND, ["scale=laptop", f"resume={file}"]) == 0
    assert started[0]["run"]["resume_from"] == str(file)


def test_a_record_that_names_a_command_runs_nothing(here, capsys, started):
    marker = here / "ran"
    model = {"_target_": "os.system", "command": f"touch {marker}"}
    file = write_checkpoint(here / "given" / "checkpoints" / step_name(3), model)
    (here / "given" / "config.json").write_text(json.dumps({"model": model, "callbacks": {"x": model}}))
    assert app.execute(COMMAND, ["scale=laptop", f"resume={file}"]) == 2
    assert "another model" in capsys.readouterr().err
    assert started == [] and not marker.exists()


def test_a_checkpoint_that_would_run_code_is_not_continued(here, capsys, started):
    marker = here / "ran"

    class Hostile:
        def __reduce__(self):
            return (type(marker).touch, (marker,))

    config = app.configure(COMMAND, ["scale=laptop", "run.id=x"])
    file = (
        run_folder.write_config(config, here / "experiments/runs/sdf_base/x").parent
        / "checkpoints"
        / step_name(3)
    )
    file.parent.mkdir()
    torch.save({"state_dict": {}, KEY: training_record(config["model"]), "loops": Hostile()}, file)
    assert app.execute(COMMAND, ["scale=laptop", "run.id=x"]) == 2
    assert "more than tensors" in capsys.readouterr().err
    assert started == [] and not marker.exists()


def test_a_torn_checkpoint_is_passed_over(here, started, caplog):
    config = app.configure(COMMAND, ["scale=laptop", "run.id=x"])
    folder = run_folder.write_config(config, here / "experiments/runs/sdf_base/x").parent
    whole = write_checkpoint(folder / "checkpoints" / step_name(3), config["model"])
    torn = write_checkpoint(folder / "checkpoints" / step_name(5), config["model"])
    torn.write_bytes(torn.read_bytes()[:-30])
    assert app.execute(COMMAND, ["scale=laptop", "run.id=x"]) == 0
    assert started[0]["run"]["resume_from"] == str(whole)
    assert f"{torn} is damaged" in caplog.text
    whole.write_bytes(b"")
    with pytest.raises(InputError, match=r"resume=must, but .*checkpoints holds no whole step-"):
        run_folder.resume_checkpoint(folder, "must")


def test_a_checkpoint_without_a_record_is_not_continued(here, capsys, started):
    file = here / "some.ckpt"
    torch.save({"state_dict": {}}, file)
    assert app.execute(COMMAND, ["scale=laptop", f"resume={file}"]) == 2
    assert "some.ckpt" in capsys.readouterr().err
    assert started == []


def test_no_command_replaces_the_config_of_another(here, capsys, started):
    prepared = here / "prepared"
    prepared.mkdir()
    (prepared / "dataset.json").touch()
    config = app.configure(COMMAND, ["scale=laptop", "run.id=x"])
    run = run_folder.write_config(config, here / "experiments/runs/sdf_base/x").parent
    ckpt = write_checkpoint(run / "checkpoints" / step_name(3), config["model"])
    argv = ["scale=laptop", f"ckpt={ckpt}", "data=folder", f"data.root={prepared}"]
    assert app.execute(EVALUATE, [*argv, f"out={run}"]) == 2
    assert "a run of train" in capsys.readouterr().err
    assert json.loads((run / "config.json").read_text()) == config
    foreign = here / "hub"
    foreign.mkdir()
    (foreign / "config.json").write_text('{"architectures": []}')
    assert app.execute(EVALUATE, [*argv, f"out={foreign}"]) == 2
    assert "another program" in capsys.readouterr().err
    assert (foreign / "config.json").read_text() == '{"architectures": []}'
    results = here / "results"
    assert app.execute(EVALUATE, [*argv, f"out={results}"]) == 0
    assert app.execute(EVALUATE, [*argv, f"out={results}"]) == 0  # its own folder, again
    where = [f"run.root={here.parent}", f"name={here.name}", "run.id=results", "run.overwrite=true"]
    assert app.execute(COMMAND, ["scale=laptop", *where]) == 2
    assert "a run of evaluate" in capsys.readouterr().err
    assert len(started) == 2


def test_only_a_run_is_removed(here):
    (here / "x").mkdir()
    (here / "x" / "thesis.tex").touch()
    with pytest.raises(InputError, match="by hand"):
        run_folder.remove_run(here / "x")
    assert (here / "x" / "thesis.tex").exists()
    (here / "x" / "config.json").touch()
    run_folder.remove_run(here / "x")
    assert not (here / "x").exists()


def test_a_damaged_config_is_named(here):
    (here / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json is damaged"):
        run_folder.stored_config(here)


def test_further_ranks_take_the_configuration_of_the_first(here, monkeypatch):
    seen = []
    monkeypatch.setattr(app.Command, "main", lambda self, config: seen.append(config))
    first = app.configure(COMMAND, ["scale=laptop"])
    path = run_folder.write_config(first, here / "run")
    with app._hand_over(path):
        monkeypatch.setenv("LOCAL_RANK", "1")
        assert app.execute(COMMAND, ["this=is", "not", "read"]) == 0
        assert seen == [first]
        path.write_text("{}")
        assert app.execute(COMMAND, []) == 2
    assert app.HANDOVER not in app.os.environ


def test_a_sweep_runs_every_job_in_a_folder_of_its_own(here, monkeypatch):
    seen = []
    monkeypatch.setattr(app.Command, "main", lambda self, config: seen.append(config))
    argv = ["-m", "scale=laptop", "seed=1,1,2", "data.root=[a b,c]"]
    assert app.execute(COMMAND, argv) == 0
    folders = [c["run"]["dir"] for c in seen]
    assert len(set(folders)) == 6
    assert [c["data"]["root"] for c in seen] == ["a b", "c"] * 3
    assert all((app.Path(f) / "config.json").is_file() for f in folders)
    assert sorted(p.name for p in here.iterdir()) == ["experiments"]
    (app.Path(folders[1]) / "status.json").unlink()
    assert app.execute(COMMAND, argv) == 0
    assert [c["run"]["dir"] for c in seen[6:]] == folders[1:2]  # the others are finished
