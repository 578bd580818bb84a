"""run(): from argv to a command's main(cfg), where cfg is a plain, resolved dictionary.

A single run is composed here and handed to main(); `-m` goes through Hydra's own multirun, so that its
sweepers and launchers work, and ends in the same main(). Errors that the user can mend are one line on stderr
and status 2 (with ONE2345_TRACEBACK=1 a traceback as well).
"""

import hashlib
import importlib
import json
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from one2345.cli import machine, run_folder, run_status, slurm, stopping, study
from one2345.cli.checks import check_sizes
from one2345.cli.closed_output import ends_with_its_reader
from one2345.cli.compose import Composed, compose, first_of_sweep, groups, one_line, to_plain
from one2345.cli.exit_codes import DONE, INPUT
from one2345.cli.helptext import help_text
from one2345.cli.quoting import literal, quote, quote_overrides
from one2345.cli.scale import Scale, asked_for, choose, with_scale
from one2345.cli.summary import relative, show_messages
from one2345.cli.sweep import alone, summary_line, sweep_name
from one2345.errors import InputError, One2345Error, SharedError
from one2345.paths import conf_dir

Config = dict[str, Any]

OmegaConf.register_new_resolver(
    "one2345.hash", lambda told: run_folder.overrides_hash(sorted(told)), replace=True
)
OmegaConf.register_new_resolver("one2345.task", study.task_number, replace=True)

# How the first process of a run hands its configuration to those that Lightning starts beside it: the path
# and digest of config.json. They repeat the command line, but must neither compose nor choose a folder again.
HANDOVER = "ONE2345_RUN_CONFIG"


@dataclass(frozen=True)
class Command:
    """A command: conf/<name>.yaml, and the module with its `main(cfg)` and its quick `check(cfg)`.

    folder: whether it has a run folder, named by the experiment. scaled: whether it has `scale=`. resumable: whether
    the same command goes on where it was stopped.
    """

    name: str
    module: str
    folder: bool = True
    scaled: bool = True
    resumable: bool = False

    def main(self, config: Config) -> Any:
        """The command itself."""
        with stopping.resumable() if self.resumable else nullcontext():
            return importlib.import_module(self.module).main(config)

    def check(self, config: Config) -> None:
        """Refuse in good time, before anything heavy is imported, what cannot work."""
        importlib.import_module(self.module).check(config)


@dataclass(frozen=True)
class Job:
    """One job of a Hydra multirun: a module-level class, which a launcher can pickle for another machine."""

    command: Command

    def __call__(self, config: DictConfig) -> Any:
        settings = HydraConfig.get()
        choices = {k: v for k, v in settings.runtime.choices.items() if not k.startswith("hydra/")}
        composed = Composed(config, choices, list(settings.overrides.task))
        folder, told = Path(settings.runtime.output_dir), composed.overrides
        try:
            plain = finish(self.command, composed, told, folder=folder)
            _check(self.command, plain)
            check_sizes(plain)
            if (done := _done_already(plain, folder)) is not None:
                print(f"{relative(folder)} is finished already", flush=True)
                return done.objective
            prepared = _prepare_start(self.command, plain)
        except Exception as error:
            run_status.record_failure(folder, error, overrides=told)
            _tell(folder, error)
            raise
        try:
            return getattr(_start(self.command, prepared), "objective", None)
        except Exception as error:
            _tell(folder, error)
            raise


def _tell(folder: Path, error: Exception) -> None:
    """Say at once why a task failed: the others go on, and Hydra raises its error at their end, if at all."""
    print(
        f"error: {relative(folder)}: {type(error).__name__}: {one_line(error)}", file=sys.stderr, flush=True
    )


def run(command: Command, argv: list[str] | None = None) -> None:
    """Run `command` with `argv` (default: the process's); leave the process with any status but 0."""
    with ends_with_its_reader():
        status = execute(command, sys.argv[1:] if argv is None else argv)
    if status:
        sys.exit(status)


def execute(command: Command, argv: list[str]) -> int:
    """Run `command`; the status: DONE, or INPUT after an error that the user can mend."""
    show_messages()
    machine.use_well()
    try:
        if (config := _handed_over()) is not None:
            stopping.end_with(os.getppid())
            with _recorded(config):
                command.main(config)
            return DONE
        flags = [a for a in argv if a.startswith("-")]
        overrides = [a for a in argv if not a.startswith("-")]
        if "--help" in flags or "-h" in flags:
            asked = [o for o in overrides if "=" not in o]
            text = importlib.import_module(command.module).__doc__ or ""
            print(help_text(command.name, text, asked[0] if asked else None))
        elif "--cfg" in argv and argv[argv.index("--cfg") + 1 :][:1] == ["job"]:
            wanted = [a for a in overrides if a != "job"]
            print(OmegaConf.to_yaml(configure(command, wanted)), end="")
        elif flags:
            _through_hydra(command, flags, argv)
        else:
            _start(command, _prepare_start(command, configure(command, overrides)))
    except One2345Error as error:
        if os.environ.get("ONE2345_TRACEBACK", "0") not in ("", "0"):
            traceback.print_exc()
        if run_folder.global_rank() == 0 or not isinstance(error, SharedError):
            print(f"error: {one_line(error)}", file=sys.stderr)
        slurm.never_again()
        return INPUT
    return DONE


def configure(command: Command, overrides: list[str]) -> Config:
    """The plain configuration of a single run of `command`, checked, its scale chosen, its run folder named.

    What is wrong with the overrides shows before torch is imported. Nothing is written.
    """
    quoted = quote_overrides(overrides)
    for chosen in (o for o in overrides if o.startswith("sweep=") and o != "sweep=null"):
        raise InputError(f"{chosen} varies the settings of several runs: add -m")
    if not command.scaled:
        config = finish(command, compose(command.name, quoted), overrides)
        _check(command, config)
        return config
    asked = asked_for(quoted)
    config = finish(command, compose(command.name, with_scale(quoted, asked or "laptop")), overrides)
    _check(command, config)
    if asked is None:
        chosen = choose(config, launcher="basic", stored=_stored_scale(config) if command.folder else None)
        _announce(chosen)
        if chosen.name != "laptop":
            config = finish(command, compose(command.name, with_scale(quoted, chosen.name)), overrides)
    check_sizes(config)
    return config


def _check(command: Command, config: Config) -> None:
    command.check(config)
    if command.folder:
        run = config["run"]
        run_folder.refuse_foreign(Path(run["dir"]), command.name, overwrite=bool(run.get("overwrite")))


def finish(command: Command, composed: Composed, told: list[str], folder: Path | None = None) -> Config:
    """Resolve `composed`; its `run` node then says where the run lies, what was chosen, what it continues."""
    config = composed.config
    OmegaConf.set_struct(config, False)
    name = config.get("name") or composed.choices.get("experiment") or command.name
    if folder is None:
        identity = run_folder.run_id(told, config.get("seed", 0), given=config.run.get("id"))
        folder = Path(config.get("out") or Path(config.run.root) / str(name) / identity).expanduser()
    config.name = str(name)
    config.run.dir = literal(os.path.abspath(folder))
    config.run.id = literal(folder.name)
    plain = to_plain(config)
    plain["run"] |= {"command": command.name, "choices": composed.choices, "overrides": told}
    return json.loads(json.dumps(_no_nan(plain)))


def _no_nan(plain: Config) -> Config:
    try:
        json.dumps(plain, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"the configuration holds a value that JSON cannot keep: {error}") from error
    return plain


def _prepare_start(command: Command, config: Config) -> Config:
    """`config`, which now says what its run continues from."""
    if command.folder:
        _continue_or_begin(config)
    return config


def _start(command: Command, config: Config) -> Any:
    """Make the run folder ready, then run main()."""
    if not command.folder:
        return command.main(config)
    folder = Path(config["run"]["dir"])
    path = (
        run_folder.write_config(config, folder)
        if run_folder.global_rank() == 0
        else folder / run_folder.CONFIG
    )
    with _hand_over(path), _recorded(config) as outcome:
        result = command.main(config)
        outcome.objective = getattr(result, "objective", None)
    return result


def _recorded(config: Config) -> AbstractContextManager[run_status.Outcome]:
    run = config["run"]
    return run_status.recorded(
        Path(run["dir"]), overrides=run.get("overrides", ()), rank=run_folder.global_rank()
    )


def _done_already(config: Config, folder: Path) -> run_status.RunStatus | None:
    """The record of a sweep's task that an earlier call of the same sweep finished."""
    if config.get("resume") != "auto" or config["run"].get("overwrite"):
        return None
    status, stored = run_status.status_now(folder), run_folder.stored_config(folder)
    if status is None or stored is None or status.state is not run_status.State.FINISHED:
        return None
    same = ["overrides", "resume_from"]  # told in another order; what it continued from
    before, now = (
        {**c, "run": {k: v for k, v in c["run"].items() if k not in same}} for c in (stored, config)
    )
    return status if before == now else None


def _continue_or_begin(config: Config) -> None:
    """Decide what the run continues from, refusing a checkpoint of another model."""
    run, folder = config["run"], Path(config["run"]["dir"])
    resume = config.get("resume")
    if resume is None:
        return
    if run.get("overwrite") and run_folder.global_rank() == 0:
        run_folder.remove_run(folder)
    checkpoint = None if run.get("overwrite") else run_folder.resume_checkpoint(folder, str(resume))
    run["resume_from"] = os.path.abspath(checkpoint) if checkpoint else None
    if checkpoint is None or run_folder.global_rank() != 0:
        return
    from one2345.checkpoints import read_record

    if other := run_folder.differences(read_record(checkpoint)["model"], config["model"], "model"):
        raise InputError(
            f"{checkpoint} belongs to another model ({'; '.join(other[:3])}); "
            "run.id=NAME starts a run of its own"
        )
    stored = run_folder.neighbour(checkpoint) or config
    before, now = ({**c, "run": None, "resume": None} for c in (stored, config))
    changed = run_folder.differences(before, now)
    print(
        f"continuing {relative(checkpoint)}" + (f"; changed: {'; '.join(changed[:5])}" if changed else ""),
        flush=True,
    )


def _stored_scale(config: Config) -> Scale | None:
    """The scale of the run that this one continues or of the checkpoint that it measures."""
    if "ckpt" in config:
        return None if config["ckpt"] is None else _scale_of_checkpoint(str(config["ckpt"]))
    if config.get("resume") not in ("auto", "must") or config["run"].get("overwrite"):
        return None
    folder = Path(config["run"]["dir"])
    stored = run_folder.stored_config(folder) if run_folder.has_checkpoint(folder) else None
    if stored is None or run_folder.command_of(stored) is None:
        return None
    return _known_scale(stored["run"]["choices"].get("scale"), "that of the run which is continued", folder)


def _scale_of_checkpoint(ckpt: str) -> Scale | None:
    """What the checkpoint says itself, else the run that it lies in."""
    from one2345.checkpoints import find_checkpoint, read_record

    file = find_checkpoint(ckpt)
    if (name := read_record(file).get("scale")) is not None:
        return _known_scale(name, "that of the checkpoint", file)
    if file.suffix == ".ckpt" and (stored := run_folder.neighbour(file)) is not None:
        return _known_scale(stored["run"]["choices"].get("scale"), "that of the checkpoint's run", file)
    return None


def _known_scale(name: Any, reason: str, where: Path) -> Scale | None:
    if name is None:
        return None
    if name not in (known := groups()["scale"]):
        raise InputError(f"{where} was made at scale={name}, which is not here; name one: {', '.join(known)}")
    return Scale(name, reason)


def _announce(scale: Scale) -> None:
    if run_folder.global_rank() == 0:
        print(scale.line(), flush=True)


def _through_hydra(command: Command, flags: list[str], argv: list[str]) -> None:
    """Hydra's own command line, for `-m` and for looking at the configuration (`--cfg job`, `--info`)."""
    multirun = bool({"-m", "--multirun"} & set(flags))
    arguments = quote_overrides(argv, multirun=multirun)
    if not multirun:
        _hydra(command, arguments)
        return
    arguments, folder, sweeper = _sweep(command, flags, argv, arguments)
    with alone(folder):
        try:
            _hydra(command, [*arguments, *study.continued(folder, sweeper)])
        except ValueError as error:
            if (reason := study.fruitless(folder, error)) is None:
                raise
            raise InputError(reason) from error
        finally:
            print(summary_line(folder), flush=True)


def _sweep(
    command: Command, flags: list[str], argv: list[str], arguments: list[str]
) -> tuple[list[str], Path, Config]:
    """Arguments of a multirun, its scale and its folder among them; that folder; the node of its sweeper."""
    overrides = [a for a in arguments if not a.startswith("-")]
    asked = asked_for(overrides) if command.scaled else ""
    first = first_of_sweep(command.name, overrides if asked is not None else with_scale(overrides, "laptop"))
    composed = compose(command.name, first)
    told = [a for a in argv if not a.startswith("-")]
    config = finish(command, composed, told)
    _check(command, config)
    if asked is None:
        chosen = choose(config, launcher=composed.launcher, stored=None)
        _announce(chosen)
        arguments = [*flags, *with_scale(overrides, chosen.name)]
    given = [a for a in argv if a.startswith("hydra.sweep.dir=")]
    if given:
        folder = Path(given[-1].partition("=")[2])
    else:
        folder = Path(config["run"]["dir"])
        if not any(o.lstrip("+").startswith("run.id=") for o in told):
            folder = folder.with_name(sweep_name(told))
        arguments.append(f"hydra.sweep.dir={quote(str(folder))}")
    return arguments, folder, composed.sweeper


def _hydra(command: Command, arguments: list[str]) -> None:
    with _hydra_argv([sys.argv[0], *arguments]):
        hydra.main(config_path=os.fspath(conf_dir()), config_name=command.name, version_base="1.3")(
            Job(command)
        )()


@contextmanager
def _hydra_argv(argv: list[str]) -> Iterator[None]:
    """sys.argv for hydra.main, and HYDRA_FULL_ERROR, with which it raises errors instead of printing them."""
    before, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = argv, "1"
    try:
        yield
    finally:
        sys.argv = before
        if full is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full


@contextmanager
def _hand_over(path: Path) -> Iterator[None]:
    """Name config.json to the processes that this one starts."""
    if not path.is_file():  # another rank writes it, and that one starts no processes through this one
        yield
        return
    os.environ[HANDOVER] = f"{hashlib.sha256(path.read_bytes()).hexdigest()}:{path}"
    try:
        yield
    finally:
        os.environ.pop(HANDOVER, None)


def _handed_over() -> Config | None:
    """The configuration of the process that started this one as a further rank of its run."""
    handed = os.environ.get(HANDOVER)
    if not handed or os.environ.get("LOCAL_RANK", "0") == "0":
        return None
    digest, _, path = handed.partition(":")
    data = Path(path).read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        raise InputError(f"{path} changed while the ranks of its run were starting; start it again")
    return json.loads(data)
