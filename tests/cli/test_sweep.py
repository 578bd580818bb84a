"""Sweeps: a folder for every task, failures that stop nobody else, studies that go on where they stopped."""

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import filelock
import pytest

from one2345.cli import app
from one2345.cli.run_status import State
from one2345.cli.sweep import Task, sweep_name, tasks_of, waiting_jobs
from one2345.cli.train import COMMAND

OPTUNA = ["-m", "sweep=optuna", "scale=laptop", "run.id=a study, (ü)"]


@dataclass
class Result:
    objective: float | None


class Killed(BaseException):
    """Leaves a task as kill -9 would: nothing of the sweeper runs after it."""


class Machine:
    """Stands in for training. The objective is the learning rate; the tasks numbered in `dies` are killed."""

    def __init__(self, dies: tuple[int, ...] = (), fails: tuple[int, ...] = ()) -> None:
        self.dies, self.fails = dies, fails
        self.seen: list[tuple[Path, float]] = []

    def __call__(self, command: app.Command, config: app.Config) -> Result:
        number = len(self.seen)
        self.seen.append((Path(config["run"]["dir"]), config["optim"]["lr"]))
        if number in self.dies:
            raise Killed
        if number in self.fails:
            raise RuntimeError("CUDA out of memory")
        return Result(config["optim"]["lr"])

    @property
    def names(self) -> list[str]:
        return [folder.name.split("-")[0] for folder, _ in self.seen]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, machine: Machine, *argv: str) -> int:
    monkeypatch.setattr(app.Command, "main", lambda self, config: machine(self, config))
    return app.execute(COMMAND, list(argv))


def values(folder: Path) -> list[float]:
    with sqlite3.connect(folder / "study.sqlite") as study:
        return [value for (value,) in study.execute("SELECT value FROM trial_values ORDER BY trial_id")]


def test_a_study_that_was_killed_goes_on_with_the_same_tasks(here, monkeypatch, capsys) -> None:
    first, second, third = Machine(dies=(3,)), Machine(), Machine()
    with pytest.raises(Killed):
        run(monkeypatch, first, *OPTUNA, "hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=2")
    assert run(monkeypatch, second, *OPTUNA, "hydra.sweeper.n_trials=6") == 0
    assert "2 trials done, 2 under way" in capsys.readouterr().out
    # The two of the interrupted batch come first, in their old folders; the first of them was finished already.
    assert first.names == ["0", "1", "2", "3"]
    assert second.seen[0] == first.seen[3] and second.names == ["3", "4", "5"]
    folder = first.seen[0][0].parent
    assert folder.name == "a study, (ü)"
    assert [t.number for t in tasks_of(folder)] == list(range(6))
    assert {t.status.state for t in tasks_of(folder)} == {State.FINISHED}
    assert len({rate for _, rate in first.seen + second.seen}) == 6  # no draw comes twice
    rates = dict(first.seen + second.seen)
    assert sorted(values(folder)) == sorted(rates.values())
    # It is done; more trials are an addition.
    assert run(monkeypatch, third, *OPTUNA, "hydra.sweeper.n_trials=6") == 0
    assert third.seen == []
    assert run(monkeypatch, third, *OPTUNA, "hydra.sweeper.n_trials=7") == 0
    assert third.names == ["6"]


def test_the_study_looks_for_the_largest_value(here, monkeypatch) -> None:
    machine = Machine()
    assert run(monkeypatch, machine, *OPTUNA, "hydra.sweeper.n_trials=4") == 0
    folder = machine.seen[0][0].parent
    best = (folder / "optimization_results.yaml").read_text()
    assert f"best_value: {max(rate for _, rate in machine.seen)!r}" in best


def test_a_failed_task_is_noted_and_the_others_run(here, monkeypatch, capsys) -> None:
    machine = Machine(fails=(1,))
    assert run(monkeypatch, machine, *OPTUNA, "hydra.sweeper.n_trials=3") == 0
    said = capsys.readouterr()
    assert "RuntimeError: CUDA out of memory" in said.err
    assert "sweep: 2 finished, 1 failed; python -m one2345.cli.sweep_report" in said.out
    found = tasks_of(machine.seen[0][0].parent)
    assert [t.status.state for t in found] == [State.FINISHED, State.FAILED, State.FINISHED]
    assert found[1].status.reason == "RuntimeError: CUDA out of memory"
    assert found[0].status.objective == machine.seen[0][1]


def test_a_study_without_a_result_says_so_in_one_line(here, monkeypatch, capsys) -> None:
    assert run(monkeypatch, Machine(fails=(0, 1)), *OPTUNA, "hydra.sweeper.n_trials=2") == 2
    assert "no task of the study in" in capsys.readouterr().err


def test_a_damaged_study_is_named(here, monkeypatch, capsys) -> None:
    machine = Machine()
    assert run(monkeypatch, machine, *OPTUNA, "hydra.sweeper.n_trials=1") == 0
    study = machine.seen[0][0].parent / "study.sqlite"
    study.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    assert run(monkeypatch, machine, *OPTUNA, "hydra.sweeper.n_trials=2") == 2
    assert "study.sqlite cannot be continued" in capsys.readouterr().err


def test_a_grid_runs_every_combination_once_and_only_the_failed_ones_again(here, monkeypatch) -> None:
    argv = ["-m", "sweep=grid", "scale=laptop", "optim.lr=1e-4,1e-4", "seed=0"]
    machine = Machine(fails=(2,))
    with pytest.raises(RuntimeError, match="out of memory"):  # after all of them have run
        run(monkeypatch, machine, *argv)
    assert machine.names == ["0", "1", "2", "3"]
    assert len({folder for folder, _ in machine.seen}) == 4  # though two combinations come twice
    again = Machine()
    assert run(monkeypatch, again, *argv) == 0
    assert again.seen == machine.seen[2:3]
    assert tasks_of(again.seen[0][0].parent)[2].status.restarts == 1


def test_a_sweep_of_one_run_is_refused(here, monkeypatch, capsys) -> None:
    assert run(monkeypatch, Machine(), "sweep=grid", "scale=laptop") == 2
    assert "sweep=grid varies the settings of several runs: add -m" in capsys.readouterr().err


def test_two_commands_do_not_work_on_one_sweep(here, monkeypatch, capsys) -> None:
    argv = ["-m", "scale=laptop", "seed=1,2", "run.id=s"]
    folder = here / "experiments" / "runs" / "sdf_base" / "s"
    folder.mkdir(parents=True)
    with filelock.FileLock(folder / ".sweep.lock"):
        assert run(monkeypatch, Machine(), *argv) == 2
    assert "another command works on the sweep" in capsys.readouterr().err
    assert run(monkeypatch, Machine(), *argv) == 0


def test_where_a_sweep_runs_does_not_rename_it() -> None:
    plain = sweep_name(["seed=1,2", "sweep=grid"])
    assert sweep_name(["sweep=grid", "seed=1,2", "hydra/launcher=slurm", "hydra.sweeper.n_trials=9"]) == plain
    assert sweep_name(["sweep=grid", "seed=1,3"]) != plain
    assert sweep_name(["sweep=grid", "seed=1,2", "hydra.sweeper.params.seed=2"]) != plain


def test_jobs_that_slurm_still_holds_are_counted(tmp_path: Path) -> None:
    for number in range(3):
        folder = tmp_path / ".submitit" / f"77_{number}"
        folder.mkdir(parents=True)
        (folder / f"77_{number}_submitted.pkl").write_bytes(b"never read")
    record = {"state": "running", "began": 1.0, "job": "77_1", "overrides": ["seed=1"]}
    (tmp_path / "1-0a").mkdir()
    (tmp_path / "1-0a" / "status.json").write_text(json.dumps(record))
    (tmp_path / "2-0b").mkdir()
    (tmp_path / "2-0b" / "status.json").write_text("{")
    found = tasks_of(tmp_path)
    assert [t.number for t in found] == [1, 2] and all(isinstance(t, Task) for t in found)
    assert "damaged" in str(found[1].problem)
    assert waiting_jobs(tmp_path, found) == 2


def test_an_interval_on_the_command_line(here, monkeypatch) -> None:
    machine = Machine()
    argv = [*OPTUNA, "hydra.sweeper.n_trials=2", "optim.lr=tag(log, interval(0.5, 1.0))"]
    assert run(monkeypatch, machine, *argv) == 0
    assert all(0.5 <= rate <= 1 for _, rate in machine.seen)


def test_an_unknown_option_of_sweep(here, monkeypatch, capsys) -> None:
    assert run(monkeypatch, Machine(), "-m", "sweep=gird", "scale=laptop") == 2
    assert "'grid'" in capsys.readouterr().err
