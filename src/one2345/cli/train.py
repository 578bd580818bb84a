"""Train a network, evaluate it on held-out objects, and leave meshes and a report (or weights of view synthesis).

Everything lands in the run folder, experiments/runs/<experiment>/<run id>; the same command continues there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from one2345.build import build
from one2345.checkpoint_folder import newest
from one2345.cli import app
from one2345.cli.checks import check_data, check_folder_writable, check_inputs
from one2345.cli.evaluate import as_in_use, named
from one2345.cli.fitting import built, check_compile, fit
from one2345.cli.run_folder import CHECKPOINTS
from one2345.cli.summary import quiet_lightning, summary_box
from one2345.errors import InputError

COMMAND = app.Command("train", "one2345.cli.train", resumable=True)
TASKS = ("reconstruction", "view_synthesis")
MEDIA = "media"  # the folder of pictures, tables and meshes from validation


@dataclass(frozen=True)
class TrainResult:
    """Where a run left what. objective: what a sweep maximises, the best checkpoint's score of validation (volume IoU;
    PSNR where the data have no labels, and of view synthesis). The test objects have no say in what is chosen."""

    folder: Path
    checkpoint: Path | None
    objective: float | None
    summary: Any = None
    paths: dict[str, Path] = field(default_factory=dict)


def run(argv: list[str] | None = None) -> None:
    """`python train.py ...`."""
    app.run(COMMAND, argv)


def check(config: Mapping[str, Any]) -> None:
    """Refuse what cannot work before torch is imported."""
    check_data(config)
    check_inputs(config.get("inputs"))
    check_folder_writable(Path(config["run"]["dir"]))
    if config.get("task") not in (None, *TASKS):
        raise InputError(f"task={config['task']} is unknown; it takes {', '.join(TASKS)}")
    check_compile(config.get("compile", False))
    if config["trainer"].get("max_steps", 1) == 0:
        raise InputError("trainer.max_steps=0 trains nothing; evaluate.py measures a checkpoint as it is")


def main(config: Mapping[str, Any]) -> TrainResult:
    """Train, then evaluate. `config`: plain and resolved, as `config.json` of a run folder keeps it."""
    if config.get("task") == "view_synthesis":
        from one2345.cli.train_views import train_views

        folder, scores = train_views(config)
        return TrainResult(folder, newest(folder / CHECKPOINTS), scores.get("val/psnr"))
    import lightning.pytorch as pl

    from one2345.training import ReconstructionModule

    folder = Path(config["run"]["dir"])
    quiet_lightning()
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    data = build(config["data"], allow_any=True)
    settings = {k: built(v) for k, v in (config.get("training") or {}).items()}
    module = ReconstructionModule(
        model=build(config["model"], allow_any=True),
        loss=build(config["loss"], allow_any=True),
        optim=build(config["optim"], allow_any=True),
        model_config=config["model"],
        compile=config.get("compile", False),
        **settings,
    )
    trainer = fit(config, module, data, profiler=_profiler(config.get("profiler"), folder))
    if not trainer.is_global_zero:
        return TrainResult(folder, None, None)
    if data.labelled("test"):
        return _evaluate(config, trainer, module)
    paths = {"run folder": folder, "checkpoint": folder / "checkpoints", "metrics": folder / "metrics.csv"}
    summary_box(f"{config['name']}: done; without labels of the shape there is no evaluation", paths)
    return TrainResult(folder, None, validation_score(trainer), paths=paths)


def inputs_in_use(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The inputs of the final evaluation, as `evaluate.py` takes them."""
    node = config["data"].get("eval_inputs") or config["data"].get("inputs")
    return as_in_use(node, config["evaluate"]) if node else None


def _evaluate(config: Mapping[str, Any], trainer: Any, module: Any) -> TrainResult:
    """Measure the best checkpoint on the held-out objects, beside the visual hull; say where it all is."""
    from one2345.checkpoints import find_checkpoint, load_weights
    from one2345.cli.objects import prepared_objects
    from one2345.cli.predictors import baselines, measure, networks
    from one2345.cli.provenance import code_version, config_hash, libraries
    from one2345.evaluation import print_table
    from one2345.training import Media

    folder = Path(config["run"]["dir"])
    checkpoints = folder / "checkpoints"
    checkpoint = None
    if checkpoints.is_dir() and any(checkpoints.glob("*.ckpt")):
        checkpoint = find_checkpoint(folder)
        load_weights(module.model, checkpoint)
    out, settings, device = folder / "evaluation", config["evaluate"], trainer.strategy.root_device
    objects = prepared_objects(config, {"held out": inputs_in_use(config)})
    protocol = named(build(config["protocol"], allow_any=True))
    appearance = build({**config["appearance"], "metrics": list(protocol.pictures)}, allow_any=True).load()
    (summary,) = measure(
        objects,
        [
            networks(
                {"network": module.model},
                objects.data,
                extractor=build(config["extractor"], allow_any=True),
                device=device,
                render=module.terms.render if settings.get("render") else None,
            ),
            baselines(objects.data, settings),
        ],
        out,
        protocols=[protocol],
        settings=settings,
        appearance=appearance,
        title=str(config["name"]),
        details={"checkpoint": str(checkpoint), "steps": str(trainer.global_step)},
        provenance={
            "code": code_version(),
            "config hash": config_hash(config),
            "libraries": libraries(),
            "appearance": appearance.facts(),
        },
        device=device,
    )
    _show(Media(folder / MEDIA, trainer.loggers), summary, out, trainer.global_step)
    for logger in trainer.loggers:
        logger.finalize("success")
    paths = {
        "run folder": folder,
        "checkpoint": checkpoint or checkpoints,
        "metrics": folder / "metrics.csv",
        "pictures": folder / MEDIA,
        "meshes": out / "meshes" / "network",
        "report": out / "report.html",
    }
    print_table(summary)
    summary_box(f"{config['name']}: done", paths)
    return TrainResult(folder, checkpoint, validation_score(trainer), summary, paths)


def validation_score(trainer: Any) -> float | None:
    """The score by which the best checkpoint was kept; None where there was no validation."""
    scores = [getattr(callback, "best_model_score", None) for callback in trainer.checkpoint_callbacks]
    return next((float(score) for score in scores if score is not None), None)


def _show(media: Any, summary: Any, out: Path, step: int) -> None:
    """The scores of every object by every method as a table, and the network's meshes, where the loggers show them."""
    columns = summary.columns()
    rows = [
        [row.object, row.predictor, *(row.scores.get(column) for column in columns), row.failure or ""]
        for row in summary.rows
    ]
    media.table("tables", "evaluation", ["object", "method", *columns, "failure"], rows, step)
    for file in sorted((out / "meshes" / "network").glob("*.glb")):
        media.show_mesh("meshes", f"evaluation {file.stem}", file, step)


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


if __name__ == "__main__":
    run()
