"""What the Optuna sweeper leaves undone: a study that was stopped goes on where it stopped.

The plug-in would number its tasks from 0 again, run as many trials as the first time, forget those that were under way,
and draw the same random numbers. So, before it starts, the study is put in order and it is told what is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from one2345.errors import InputError

STUDY = "study.sqlite"
# A task's folder; `hydra.job.num` counts from 0 in every call, the trials of a study go on counting.
SUBDIR = "${{one2345.task:${{hydra.job.num}},{open},{next}}}-${{one2345.hash:${{hydra.overrides.task}}}}"


def task_number(job: int, open_trials: Sequence[int], following: int) -> int:
    """Number of the trial that is the job-th of this call: those under way come first, in order, then new ones."""
    count = len(open_trials)
    return int(open_trials[job]) if job < count else following + job - count


def continued(folder: Path, sweeper: Mapping[str, Any]) -> list[str]:
    """Overrides with which the plug-in goes on with the study in `folder`; none where there is no study yet.

    Trials that were under way get their parameters and their folder again, and so go on from their checkpoint.
    sweeper: the node hydra.sweeper. The caller holds the lock of the sweep.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / STUDY
    if not str(sweeper.get("storage", "")).endswith(f"/{STUDY}") or not file.is_file():
        return []
    import optuna
    from optuna.trial import TrialState

    try:
        study = optuna.load_study(study_name=sweeper["study_name"], storage=f"sqlite:///{file}")
        trials = study.get_trials(deepcopy=False)
        open_trials = [t for t in trials if not t.state.is_finished()]
        for trial in open_trials:
            if trial.state == TrialState.RUNNING:
                study._storage.set_trial_state(trial._trial_id, TrialState.WAITING)
    except Exception as error:  # SQLAlchemy's own, and what a damaged or foreign database brings
        raise InputError(
            f"{file} cannot be continued ({type(error).__name__}: {error}); move it away to start the study anew"
        ) from error
    done = len(trials) - len(open_trials)
    subdir = SUBDIR.format(open=[t.number for t in open_trials], next=len(trials)).replace(" ", "")
    overrides = [
        f"hydra.sweeper.n_trials={max(0, sweeper['n_trials'] - done)}",
        f"hydra.sweep.subdir='{subdir}'",
    ]
    if (seed := (sweeper.get("sampler") or {}).get("seed")) is not None:
        overrides.append(f"hydra.sweeper.sampler.seed={seed + len(trials)}")
    print(f"continuing the study in {folder}: {done} trials done, {len(open_trials)} under way", flush=True)
    return overrides


def fruitless(folder: Path, error: ValueError) -> str | None:
    """What to say where `error` is Optuna's about a study none of whose tasks gave a value; None where it isn't."""
    if "Record does not exist" not in str(error) or not (folder / STUDY).is_file():
        return None
    return f"no task of the study in {folder} has finished; each one's status.json says why"
