"""Measure networks and anybody's meshes, and the visual hull beside them, by a named protocol.

Writes results.json, tables (CSV, Markdown, LaTeX), a figure, the meshes that were made, and an HTML report.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from one2345.build import build, did_you_mean
from one2345.cli import app
from one2345.cli.checks import check_data, check_folder_writable, check_inputs, existing_path
from one2345.cli.compose import group_node, groups
from one2345.cli.devices import check_device
from one2345.cli.processes import process_group
from one2345.cli.provenance import code_version, config_hash, file_hash, libraries
from one2345.cli.summary import quiet_lightning, summary_box
from one2345.errors import InputError

COMMAND = app.Command("evaluate", "one2345.cli.evaluate")


def run(argv: list[str] | None = None) -> None:
    """`python evaluate.py ...`."""
    app.run(COMMAND, argv)


def check(config: Mapping[str, Any]) -> None:
    """Refuse what cannot work before torch is imported."""
    settings = config["evaluate"]
    for name, path in checkpoints(config).items():
        if path != "pretrained":
            existing_path("ckpt" if name == "network" else f"evaluate.checkpoints.{name}", path)
    for name, path in folders(config).items():
        existing_path(f"meshes of {name}" if name != "meshes" else "meshes", path, folder=True)
    baselines = settings.get("hull", True) or settings.get("sphere", True)
    if not checkpoints(config) and not folders(config) and not baselines:
        raise InputError(
            "nothing to measure: give ckpt=PATH, meshes=DIR, evaluate.hull=true or evaluate.sphere=true"
        )
    for name, frame in per_folder(config, "evaluate.frame", settings.get("frame")).items():
        check_frame(frame, f"evaluate.frame of {name}")
    for name, up in per_folder(config, "meshes_up", config["meshes_up"]).items():
        if up not in ("auto", "y", "z"):
            raise InputError(f"meshes_up of {name} is {up}; it takes auto, y or z")
    if config["truth_up"] not in ("auto", "y", "z"):
        raise InputError(f"truth_up={config['truth_up']}; it takes auto, y or z")
    count = settings.get("objects")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        raise InputError(f"evaluate.objects={count}: a whole number from 1 on, or null for all")
    if "network" in (settings.get("checkpoints") or {}):
        raise InputError(
            "evaluate.checkpoints: `network` is the name of the one that ckpt= gives; choose another"
        )
    for key, given in (("meshes", config["meshes"]), ("evaluate.checkpoints", settings.get("checkpoints"))):
        if given is not None and not given:
            raise InputError(f"{key} is empty; give {{name: PATH, ...}}")
    check_device(config["device"])
    if config["truth"] is None:
        check_data(config)
    else:
        _check_truth(config)
    for name, node in inputs_to_use(config).items():
        if node.get("root") == "???":
            raise InputError(f"evaluate.inputs={name} needs a folder; add inputs={name} inputs.root=DIR")
        check_inputs(node)
    protocol_nodes(config)
    if synthesisers(config) and not checkpoints(config):
        raise InputError("evaluate.views needs a network: ckpt=PATH")
    if settings.get("elevation") not in ("known", "estimate"):
        raise InputError(f"evaluate.elevation={settings.get('elevation')}; it takes known or estimate")
    check_folder_writable(Path(config["run"]["dir"]))


def _check_truth(config: Mapping[str, Any]) -> None:
    collection, download = config["evaluate"].get("collection"), config["evaluate"].get("download")
    if collection not in (None, "gso"):
        raise InputError(f"evaluate.collection={collection} is unknown; it takes gso or null")
    if download and collection is None:
        raise InputError(
            "evaluate.download=true needs evaluate.collection=gso, the one that can be downloaded"
        )
    if download:
        check_folder_writable(Path(config["truth"]), key="truth")
    else:
        existing_path("truth", config["truth"], folder=True)


def per_folder(config: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A setting of `meshes=` for every folder by name: one value for all, or a mapping from names."""
    names = list(folders(config))
    if not isinstance(value, Mapping):
        return dict.fromkeys(names, value)
    if unknown := sorted(set(map(str, value)) - set(names)):
        raise InputError(f"{key}: meshes= has no {unknown[0]!r}{did_you_mean(unknown[0], names)}")
    if missing := [name for name in names if name not in value]:
        raise InputError(f"{key}: nothing is said of {missing[0]!r}")
    return {str(name): of_one for name, of_one in value.items()}


def check_frame(frame: Any, key: str) -> None:
    """A frame: null, `truth`, or a length."""
    number = isinstance(frame, int | float) and not isinstance(frame, bool)
    if frame is None or frame == "truth" or (number and 0 < frame < float("inf")):
        return
    raise InputError(
        f"{key} is {frame}; it takes truth (coordinates of the truth's file), a positive number (the truth's "
        "longest edge in the meshes' frame) or null (as the protocol says)"
    )


def checkpoints(config: Mapping[str, Any]) -> dict[str, str]:
    """Networks to measure, by name. `meshes=` alone asks for none."""
    told = any(o.lstrip("+").startswith("ckpt=") for o in config["run"].get("overrides", ()))
    found: dict[str, str] = {}
    if config["ckpt"] is not None and (told or config["meshes"] is None):
        found["network"] = str(config["ckpt"])
    further = config["evaluate"].get("checkpoints") or {}
    return found | {str(k): str(v) for k, v in further.items()}


def folders(config: Mapping[str, Any]) -> dict[str, str]:
    """Folders of meshes to measure, by name."""
    meshes = config["meshes"]
    if meshes is None:
        return {}
    if isinstance(meshes, Mapping):
        return {str(k): str(v) for k, v in meshes.items()}
    return {"meshes": str(meshes)}


def protocol_nodes(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Protocols to measure by: those that `evaluate.protocols` lists, else the one that `protocol=` names.

    Of the listed ones, the one that `protocol=` names has the settings given with it (`protocol.points=1000`).
    """
    names = config["evaluate"].get("protocols")
    if names is None:
        return [config["protocol"]]
    return list(_chosen(config, "protocol", names).values())


def inputs_to_use(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Kinds of input to evaluate with, by name: what `inputs=` says, or those that `evaluate.inputs` lists.

    Of the listed ones, the one that `inputs=` names has the settings given with it (`inputs.geometry=0.25`).
    """
    names = config["evaluate"].get("inputs")
    if names is None:
        option = str(config["run"].get("choices", {}).get("inputs", "given"))
        return {option: as_in_use(config["inputs"], config["evaluate"])}
    nodes = _chosen(config, "inputs", names)
    return {name: as_in_use(node, config["evaluate"]) for name, node in nodes.items()}


def synthesisers(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The synthesisers of `evaluate.views` by name: with each, networks start from one picture."""
    names = config["evaluate"].get("views")
    if names is None:
        return {}
    nodes = _chosen(config, "views", names)
    if "replay" in nodes:
        raise InputError(
            "evaluate.views: replay has views of one object only; use oracle, simulated or zero123"
        )
    return nodes


def _chosen(config: Mapping[str, Any], group: str, names: Any) -> dict[str, Mapping[str, Any]]:
    """The options of a group that a list names, as composed or, for those not chosen, as they lie in conf/."""
    option = str(config["run"].get("choices", {}).get(group, "given"))
    key = f"evaluate.{group if group.endswith('s') else group + 's'}"
    known = groups()[group]
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in known:
            near = did_you_mean(str(name), known) or f"; there are: {', '.join(known)}"
            raise InputError(f"{key}: unknown option {name!r}{near}")
    overrides = config["run"].get("overrides", ())
    told = [o for o in overrides if o.lstrip("+").startswith((f"{group}=", f"{group}."))]
    if told and option not in names:
        raise InputError(
            f"{' '.join(told)} changes nothing, since {key} does not list {option!r}; "
            f"{key}=[{','.join([*names, option])}] does"
        )
    return {name: config[group] if name == option else group_node(group, name) for name in names}


def as_in_use(node: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """An inputs node as evaluation takes it: simulated ones drift along the chain if `settings` say `chain`."""
    chain = settings.get("chain")
    return {**node, "chain": chain} if "chain" in node and chain is not None else dict(node)


def main(config: Mapping[str, Any]) -> Any:
    """Evaluate; returns the list of `evaluation.Summary`, one a protocol (none but on the first process)."""
    from one2345.cli.devices import pick_device
    from one2345.cli.from_one_picture import pipelines
    from one2345.cli.objects import prepared_objects, true_meshes
    from one2345.cli.predictors import baselines, measure, mesh_folders, networks
    from one2345.evaluation import print_table
    from one2345.pipeline import Weights
    from one2345.rendering import RenderSettings

    quiet_lightning()
    out, settings, device = Path(config["run"]["dir"]), config["evaluate"], pick_device(config["device"])
    with process_group() as shared:
        weights = {name: Weights.load(path) for name, path in checkpoints(config).items()}
        models = {name: found.model for name, found in weights.items()}
        protocols = [named(build(node, allow_any=True)) for node in protocol_nodes(config)]
        appearance = _appearance(config, protocols)
        inputs = inputs_to_use(config)
        if config["truth"] is None:
            objects = prepared_objects(config, inputs, shared=shared)
        else:
            views = bool(models) or bool(settings.get("hull", True))
            objects = true_meshes(config, inputs, views=views, shared=shared)
        found, notes, digests = mesh_folders(
            folders(config),
            objects.cases,
            up=per_folder(config, "meshes_up", config["meshes_up"]),
            frame=per_folder(config, "evaluate.frame", settings.get("frame")),
            whole=settings.get("objects") is None,
        )
        render = RenderSettings() if settings.get("render") else None
        extractor = build(config["extractor"], allow_any=True)
        summaries = measure(
            objects,
            [
                networks(models, objects.data, extractor=extractor, device=device, render=render),
                pipelines(config, weights, synthesisers(config), objects, extractor=extractor, device=device),
                found,
                baselines(objects.data, settings),
            ],
            out,
            protocols=protocols,
            settings=settings,
            appearance=appearance,
            title=_title(config),
            details={},
            provenance={**_provenance(config, appearance), **digests},
            notes=notes,
            device=device if models else None,
            shared=shared,
        )
        for summary in summaries:
            print_table(summary)
        if summaries:
            _say(out, summaries)
    return summaries


def named(protocol: Any) -> Any:
    """A protocol as it is called: one that is not what its file says says so, since its numbers do not compare."""
    known = groups()["protocol"]
    if protocol.name not in known:
        return protocol
    shipped = build(group_node("protocol", protocol.name), allow_any=True)
    return protocol if protocol.hash == shipped.hash else replace(protocol, name=f"{protocol.name}-changed")


def _appearance(config: Mapping[str, Any], protocols: Any) -> Any:
    """The picture metrics that any of the protocols asks for, loaded; None where none does."""
    wanted = [m for m in config["appearance"]["metrics"] if any(m in p.pictures for p in protocols)]
    if not wanted:
        return None
    return build({**config["appearance"], "metrics": wanted}, allow_any=True).load()


def _provenance(config: Mapping[str, Any], appearance: Any) -> dict[str, Any]:
    from one2345.checkpoints import find_checkpoint

    facts: dict[str, Any] = {"code": code_version(), "config hash": config_hash(config)}
    for name, path in checkpoints(config).items():
        facts[f"checkpoint {name}"] = f"{path} ({file_hash(find_checkpoint(path))})"
    facts["libraries"] = libraries()
    return facts | ({"appearance": appearance.facts()} if appearance is not None else {})


def _title(config: Mapping[str, Any]) -> str:
    benchmark = config["run"].get("choices", {}).get("benchmark")
    return f"Benchmark {benchmark}" if benchmark else "Evaluation"


def _say(out: Path, summaries: Any) -> None:
    names = ("results.json", "table.md", "report.html")
    if len(summaries) == 1:
        paths = {"results": out, **{name: out / name for name in names}}
    else:
        paths = {
            "results": out,
            **{s.protocol.name: out / s.protocol.name / "report.html" for s in summaries},
        }
    summary_box("evaluation: done", {**paths, "meshes": out / "meshes"})


if __name__ == "__main__":
    run()
