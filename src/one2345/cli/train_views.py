"""Train view synthesis (task=view_synthesis of train.py) and leave weights that `views=` takes in the run folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from one2345.build import build
from one2345.cli.fitting import built, fit
from one2345.cli.summary import quiet_lightning, summary_box


def train_views(config: Mapping[str, Any]) -> tuple[Path, dict[str, float]]:
    """The run folder, and what the last validation measured."""
    import lightning.pytorch as pl

    from one2345.cli.provenance import code_version, config_hash
    from one2345.training import ViewSynthesisModule

    folder = Path(config["run"]["dir"])
    quiet_lightning()
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    model = build(config["model"], allow_any=True)
    data = build({**config["data"], "size": model.model.size}, allow_any=True)
    settings = {k: built(v) for k, v in config["synthesis"].items()}
    module = ViewSynthesisModule(
        model=model,
        optim=build(config["optim"], allow_any=True),
        model_config=config["model"],
        compile=config.get("compile", False),
        **settings,
    )
    trainer = fit(config, module, data)
    scores = {}
    if data.ids("val"):
        (scores,) = trainer.validate(module, datamodule=data, verbose=False)
    if trainer.is_global_zero:
        record = {
            "experiment": config["name"],
            "steps": trainer.global_step,
            "seed": config["seed"],
            "code": code_version(),
            "config hash": config_hash(config),
            **{k: round(float(v), 3) for k, v in scores.items()},
        }
        module.save(folder, record=record)
        for name, value in scores.items():
            print(f"{name}: {value:.2f} dB")
        paths = {"weights": folder, "metrics": folder / "metrics.csv", "pictures": folder / "media"}
        summary_box(f"{config['name']}: done", paths)
    return folder, {k: float(v) for k, v in scores.items()}
