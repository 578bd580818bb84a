"""python -m one2345.app and its viewer: what they refuse, and how."""

import pytest

from one2345.app import command, viewer
from one2345.cli.app import configure, execute
from one2345.errors import InputError


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("image=a.png", "image= is for reconstruct"),
        ("posed=DIR", "posed= is for reconstruct"),
        ("port=0", "port=0: a number from 1"),
        ("examples=-1", "examples=-1"),
        ("formats=[glb]", "the page offers obj too"),
        ("ckpt=nowhere", "ckpt=nowhere: no such"),
        ("device=gpu", "did you mean 'cuda'"),
        ("views=orcale", "did you mean 'oracle'"),
        ("limits.second=3", "did you mean 'limits.seconds'"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(monkeypatch, override: str, match: str) -> None:
    monkeypatch.setattr(command, "need", lambda package: None)
    with pytest.raises(InputError, match=match):
        configure(command.COMMAND, [override])


def test_without_gradio_it_says_what_to_install(monkeypatch, capsys) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert execute(command.COMMAND, []) == 2
    assert "gradio is not installed: pip install 'one2345[demo]'" in capsys.readouterr().err


def test_help_lists_the_groups_of_reconstruct(capsys) -> None:
    assert execute(command.COMMAND, ["--help"]) == 0
    said = capsys.readouterr().out
    assert "zero123*" in said and "limits:" in said and "plan" in said


def test_weights_out_of_reach_are_a_reason_and_other_mistakes_are_not(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    node = {"_target_": "one2345.views.zero123.Zero123Synthesizer", "weights": "a/b", "download": False}
    made, reason = command.reachable(node)
    assert made is None and reason is not None and "weights are not here" in reason
    with pytest.raises(InputError, match=r"views\.root"):
        command.reachable({"_target_": "one2345.views.synthesis.Replay", "root": None})


def test_the_viewer_refuses_what_it_cannot_show(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(command, "need", lambda package: None)
    pytest.importorskip("viser")
    assert viewer.run([str(tmp_path / "nothing")]) == 2
    assert viewer.run([str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "no such folder" in said and "neither a run of reconstruct.py nor a prepared object" in said
