"""The run folder: experiments/runs/<experiment>/<run id>, the same again for the same command.

The id is made from what was asked for, never from the time, so that a job which a cluster starts again finds
its checkpoint. `config.json` in it is the resolved configuration as plain JSON.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from one2345.build import did_you_mean
from one2345.checkpoint_folder import by_step, newest
from one2345.errors import InputError
from one2345.files import write_atomic

CHECKPOINTS = "checkpoints"
CONFIG = "config.json"
STATUS = "status.json"
RESUME = ("auto", "never", "must")
# Overrides that say where and whether to run, not what, leave the id alone.
_NEUTRAL = re.compile(r"\+{0,2}(resume|out|experiment|seed|debug|sweep|scale=auto$|run\.|hydra[./]|logger)")


def run_id(overrides: Iterable[str], seed: int, *, given: str | None = None) -> str:
    """Name of the run: the one given, else `default-s0`, or a hash of the overrides with the seed."""
    if given is not None:
        if not given or given in (".", "..") or set(given) & set("/\\\0"):
            raise InputError(f"run.id={given!r} cannot be the name of a folder")
        return given
    told = sorted({o for o in overrides if not _NEUTRAL.match(o)})
    return f"{overrides_hash(told) if told else 'default'}-s{seed}"


def overrides_hash(overrides: Iterable[str]) -> str:
    """Eight hexadecimal digits that stand for these overrides."""
    return hashlib.blake2b("\0".join(overrides).encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


def global_rank() -> int:
    """This process's rank as its launcher (torchrun, Lightning, srun) tells it, 0 for a single process."""
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0


def resume_checkpoint(folder: Path, resume: str) -> Path | None:
    """The checkpoint to continue from.

    `auto` takes the folder's latest whole one if there is one, `must` insists on it, `never` refuses a folder that
    has any; anything else is the path of a checkpoint.
    """
    checkpoints = folder / CHECKPOINTS
    if resume in ("auto", "must"):
        found = newest(checkpoints)
        if found is None and resume == "must":
            raise InputError(
                f"resume=must, but {checkpoints} holds no whole step-*.ckpt; "
                "resume=auto starts afresh where there is none"
            )
        return found
    if resume == "never":
        if has_checkpoint(folder):
            raise InputError(
                f"resume=never, but {folder} holds a run already: resume=auto continues it, "
                "run.id=NAME starts another beside it, run.overwrite=true removes it first"
            )
        return None
    path = Path(resume).expanduser()
    if not path.is_file():
        near = did_you_mean(resume, RESUME)
        raise InputError(f"resume={resume}: no such checkpoint{near or '; or one of auto, never, must'}")
    return path


def has_checkpoint(folder: Path) -> bool:
    """Whether the run in `folder` has got to a first checkpoint."""
    return bool(by_step(folder / CHECKPOINTS))


def stored_config(folder: Path) -> dict[str, Any] | None:
    """What config.json of `folder` says, None without one; InputError if it is damaged."""
    path = folder / CONFIG
    if not path.is_file():
        return None
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}); delete the file to start this run afresh") from error
    if not isinstance(stored, dict):
        raise InputError(f"{path} holds no configuration; delete the file to start this run afresh")
    return stored


def command_of(stored: dict[str, Any]) -> str | None:
    """The command that wrote this configuration; None if it is none of ours."""
    run = stored.get("run")
    if not isinstance(run, dict) or not isinstance(run.get("choices"), dict):
        return None
    return str(run.get("command", "evaluate" if "ckpt" in stored else "train"))


def neighbour(checkpoint: Path) -> dict[str, Any] | None:
    """config.json of the run that `checkpoint` lies in; None without one that a command of ours wrote.

    The user named the file, so a config.json beside it may be another program's.
    """
    folder = checkpoint.parent.parent if checkpoint.parent.name == CHECKPOINTS else checkpoint.parent
    try:
        stored = stored_config(folder)
    except InputError:
        return None
    return stored if stored is not None and command_of(stored) is not None else None


def refuse_foreign(folder: Path, command: str, *, overwrite: bool = False) -> None:
    """InputError if `folder` holds a config.json that `command` did not write and would replace."""
    try:
        stored = stored_config(folder)
    except InputError:
        if overwrite:
            return
        raise
    if stored is None or (owner := command_of(stored)) == command:
        return
    whose = f"a run of {owner}" if owner else "another program"
    raise InputError(
        f"{folder} holds the {CONFIG} of {whose}, which {command} would replace; name another folder"
    )


def write_config(config: dict[str, Any], folder: Path) -> Path:
    """Write config.json, aside first and then renamed. InputError for a value that JSON cannot hold."""
    try:
        text = json.dumps(config, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"the configuration cannot be kept as JSON: {error}") from error
    try:
        write_atomic(folder / CONFIG, text + "\n")
    except OSError as error:
        raise InputError(f"cannot write the run folder {folder}: {error}; run.root=DIR moves it") from error
    return folder / CONFIG


def remove_run(folder: Path) -> None:
    """Delete a run folder; refuses a folder that does not look like one."""
    if not folder.exists():
        return
    if not (folder / CONFIG).is_file() and any(f.name != STATUS for f in folder.iterdir()):
        raise InputError(
            f"run.overwrite=true, but {folder} has no {CONFIG}, so it may not be a run; delete it by hand"
        )
    shutil.rmtree(folder)


def differences(old: Any, new: Any, at: str = "") -> list[str]:
    """`key: old -> new` for every leaf in which two configurations differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for name in sorted(old.keys() | new.keys()):
            lines += differences(old.get(name), new.get(name), f"{at}.{name}" if at else name)
        return lines
    return [] if old == new else [f"{at}: {old!r} -> {new!r}"]
