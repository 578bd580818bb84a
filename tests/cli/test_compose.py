"""Wrong overrides: one line, status 2, the nearest valid name, no heavy import, nothing written."""

import subprocess
import sys

import pytest

from one2345.cli import app
from one2345.cli.evaluate import COMMAND as EVALUATE
from one2345.cli.prepare import COMMAND as PREPARE
from one2345.cli.train import COMMAND as TRAIN


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["experimen=sdf_base"], ["'experimen'", "'experiment'"]),
        (["modle=sdf_base"], ["'modle'", "'model'"]),
        (["model=sdf_bse"], ["'sdf_bse'", "'model'", "'sdf_base'"]),
        (["scale=lptop"], ["'lptop'", "'laptop'"]),
        (["trainer.max_step=5"], ["'trainer.max_step'", "'trainer.max_steps'"]),
        (["max_steps=5"], ["'max_steps'", "'trainer.max_steps'"]),
        (["data.source.trian=5"], ["'data.source.trian'", "'data.source.train'"]),
        (["seed=abc"], ["'abc'", "'seed'", "number"]),
        (["trainer.accelerator=gpuu"], ["'gpuu'", "'gpu'"]),
        (["loss.colour=[1]"], ["'loss.colour'", "number"]),
        (["data=folder"], ["data.root"]),
        (["data=folder", "data.root=/no/such/folder"], ["data.root=/no/such/folder", "no such"]),
        (["inputs=predicted"], ["inputs.root"]),
        (["resume=must"], ["resume=must", "checkpoints"]),
        (["resume=atuo"], ["'auto'"]),
        (["foo"], ["'foo'", "key=value"]),
        (["seed=[1"], ["seed=[1"]),
        (["run.id=a/b"], ["run.id", "folder"]),
        (["-m", "model=sdf_base,sdf_bse"], ["'sdf_bse'", "'sdf_base'"]),
        (["-m", "seed=1,2", "modle=x"], ["'modle'", "'model'"]),
        (["-m", "scale=auto,gpu"], ["scale=auto", "explicit"]),
    ],
)
def test_train_refuses_in_one_line(argv, words, here, capsys):
    assert app.execute(TRAIN, argv) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    for word in words:
        assert word in captured.err
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "argv", "words"),
    [
        (EVALUATE, ["ckpt=missing.ckpt"], ["ckpt=missing.ckpt", "no such"]),
        (EVALUATE, ["ckpt=null", "evaluate.hull=false", "evaluate.sphere=false"], ["nothing to measure"]),
        (EVALUATE, ["evaluate.inputs=[exat]"], ["'exat'", "'exact'"]),
        (EVALUATE, ["experiment=sdf_base"], ["experiment"]),
        (PREPARE, ["source=shapes"], ["out is not given"]),
        (PREPARE, ["source=folder", "out=x"], ["source.root"]),
        (PREPARE, ["source=folder", "source.root=nowhere", "out=x"], ["source.root=nowhere"]),
        (PREPARE, ["source=shapes", "out=x", "split=tran"], ["'train'"]),
    ],
)
def test_the_other_commands_refuse_in_one_line(command, argv, words, here, capsys):
    assert app.execute(command, argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    for word in words:
        assert word in error
    assert list(here.iterdir()) == []


def test_a_near_folder_is_named(here, capsys):
    (here / "my, data [1]").mkdir()
    assert app.execute(TRAIN, ["data=folder", "data.root=my, dta [1]"]) == 2
    assert "did you mean 'my, data [1]'?" in capsys.readouterr().err


def test_quotes_in_a_path_are_pointed_at(here, capsys):
    assert app.execute(TRAIN, ["data=folder", "data.root='my data'"]) == 2
    assert "quotes are taken literally" in capsys.readouterr().err


def test_a_folder_without_prepared_views_is_refused(here, capsys):
    (here / "x").mkdir()
    assert app.execute(TRAIN, ["data=folder", "data.root=x"]) == 2
    assert "dataset.json" in capsys.readouterr().err


def test_an_awkward_path_reaches_the_configuration(here):
    name = "it's, (a) [b] = ü${x}"
    (here / name).mkdir()
    (here / name / "dataset.json").touch()
    config = app.configure(TRAIN, ["scale=laptop", "data=folder", f"data.root={name}"])
    assert config["data"]["root"] == name


def test_errors_come_before_torch_and_without_traceback(tmp_path):
    code = (
        "import sys\n"
        "from one2345.cli.train import run\n"
        "try:\n"
        "    run(['trainer.max_step=1'])\n"
        "except SystemExit as end:\n"
        "    print(end.code, 'torch' in sys.modules, 'lightning' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["2", "False", "False"]
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_traceback_on_request(here, capsys, monkeypatch):
    monkeypatch.setenv("ONE2345_TRACEBACK", "1")
    assert app.execute(TRAIN, ["seed=abc"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("command", [TRAIN, EVALUATE, PREPARE])
def test_help_lists_groups_options_and_keys(command, capsys, here):
    assert app.execute(command, ["--help"]) == 0
    text = capsys.readouterr().out
    assert "usage:" in text
    assert "published32" in text and "ring8*" in text
    assert ("\n  run:" in text) == command.folder  # keys that it has a use for
    assert f"\n  python {command.name}.py " in text  # examples
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("width", [70, 100])
def test_help_fits_the_terminal(width, capsys, here, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    app.execute(EVALUATE, ["--help"])
    keys = capsys.readouterr().out.partition("\nkeys:\n")[2]
    assert all(len(line) <= width for line in keys.partition("\nPaths")[0].splitlines())
    assert "  ckpt: pretrained # a checkpoint, a release" in keys


def test_help_of_a_group_says_what_each_option_is(capsys, here):
    assert app.execute(TRAIN, ["--help", "model"]) == 0
    text = capsys.readouterr().out
    assert "\n  sdf_base*      The reconstruction network of this project" in text
    assert app.execute(TRAIN, ["--help", "modle"]) == 2
    assert "did you mean 'model'" in capsys.readouterr().err
