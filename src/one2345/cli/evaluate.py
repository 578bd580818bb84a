"""Measure a network on prepared objects, and the visual hull of the same views beside it.

Writes a table and JSON of every object, a summary, the meshes, and a self-contained HTML report.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from one2345.build import build, did_you_mean
from one2345.cli import app
from one2345.cli.checks import check_data, check_folder_writable, check_inputs, existing_path
from one2345.cli.compose import group_node, groups
from one2345.cli.devices import check_device
from one2345.cli.summary import quiet_lightning, summary_box
from one2345.errors import InputError

COMMAND = app.Command("evaluate", "one2345.cli.evaluate")


def run(argv: list[str] | None = None) -> None:
    """`python evaluate.py ...`."""
    app.run(COMMAND, argv)


def check(config: Mapping[str, Any]) -> None:
    """Refuse what cannot work before torch is imported."""
    if config["ckpt"] is None:
        raise InputError("ckpt is not given; ckpt=PATH or ckpt=pretrained")
    if config["ckpt"] != "pretrained":
        existing_path("ckpt", config["ckpt"])
    check_device(config["device"])
    check_data(config)
    for name, node in inputs_to_use(config).items():
        if node.get("root") == "???":
            raise InputError(f"evaluate.inputs={name} needs a folder; add inputs={name} inputs.root=DIR")
        check_inputs(node)
    check_folder_writable(Path(config["run"]["dir"]))


def inputs_to_use(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Kinds of input to evaluate with, by name: what `inputs=` says, or those that `evaluate.inputs` lists.

    Of the listed ones, the one that `inputs=` names has the settings given with it (`inputs.geometry=0.25`).
    """
    names = config["evaluate"].get("inputs")
    option = str(config["run"].get("choices", {}).get("inputs", "given"))
    if names is None:
        return {option: as_in_use(config["inputs"], config["evaluate"])}
    known = groups()["inputs"]
    for name in (names := [names] if isinstance(names, str) else names):
        if name not in known:
            near = did_you_mean(str(name), known) or f"; there are: {', '.join(known)}"
            raise InputError(f"evaluate.inputs: unknown option {name!r}{near}")
    told = [o for o in config["run"].get("overrides", ()) if o.lstrip("+").startswith(("inputs=", "inputs."))]
    if told and option not in names:
        raise InputError(
            f"{' '.join(told)} changes nothing, since evaluate.inputs does not list {option!r}; "
            f"evaluate.inputs=[{','.join([*names, option])}] does"
        )
    nodes = {name: config["inputs"] if name == option else group_node("inputs", name) for name in names}
    return {name: as_in_use(node, config["evaluate"]) for name, node in nodes.items()}


def as_in_use(node: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """An inputs node as evaluation takes it: simulated ones drift along the chain if `settings` say `chain`."""
    chain = settings.get("chain")
    return {**node, "chain": chain} if "chain" in node and chain is not None else dict(node)


def main(config: Mapping[str, Any]) -> Any:
    """Evaluate; returns the `evaluation.Summary`."""
    from one2345.checkpoints import load_reconstructor
    from one2345.cli.devices import pick_device
    from one2345.cli.predictors import measure
    from one2345.evaluation import print_table
    from one2345.rendering import RenderSettings

    quiet_lightning()
    out = Path(config["run"]["dir"])
    model, _ = load_reconstructor(str(config["ckpt"]))
    data = {
        name: build({**config["data"], "inputs": node, "eval_inputs": node}, allow_any=True)
        for name, node in inputs_to_use(config).items()
    }
    next(iter(data.values())).ensure_prepared("test")
    summary = measure(
        model,
        data,
        out,
        extractor=build(config["extractor"], allow_any=True),
        protocol=build(config["protocol"], allow_any=True),
        settings=config["evaluate"],
        device=pick_device(config["device"]),
        details={"checkpoint": str(config["ckpt"]), "data": str(next(iter(data.values())).root)},
        render=RenderSettings() if config["evaluate"].get("render") else None,
    )
    print_table(summary)
    paths = {"results": out, "table": out / "objects.csv", "summary": out / "summary.json"}
    summary_box("evaluation: done", {**paths, "meshes": out / "meshes", "report": out / "report.html"})
    return summary


if __name__ == "__main__":
    run()
