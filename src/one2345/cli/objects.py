"""The objects of an evaluation: prepared views with their own samples, or true meshes with views made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from one2345.array_cache import ArrayCache
from one2345.build import build
from one2345.cli.processes import first_then_others
from one2345.cli.provenance import objects_hash
from one2345.data import Recipe, SampleSizes, SceneSizes
from one2345.data.datamodule import ReconstructionDataModule
from one2345.data.gso import GsoSource
from one2345.data.ledger import failures
from one2345.data.object_list import load_object_list
from one2345.data.sources import FolderSource, Source, open_meshes
from one2345.errors import InputError
from one2345.evaluation import Case, MeshTruth


@dataclass(frozen=True)
class Objects:
    """cases: in order of id. data: kind of input → module that serves it; empty where no views are needed.
    facts: for results.json. notes: lines to stand beside every table. source: of the objects themselves, to be
    looked at from anywhere; None where only their views are there."""

    cases: list[Case]
    data: Mapping[str, ReconstructionDataModule]
    source: Source | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


def prepared_objects(
    config: Mapping[str, Any], inputs: Mapping[str, Mapping[str, Any] | None], *, shared: bool = False
) -> Objects:
    """Test objects of the data module, measured against their stored samples. shared: by several processes."""
    data = {
        name: build({**config["data"], "inputs": node, "eval_inputs": node}, allow_any=True)
        for name, node in inputs.items()
    }
    module = next(iter(data.values()))
    with first_then_others(shared):
        module.ensure_prepared("test")
    records = module.dataset("test").records()
    settings = config["evaluate"]
    facts: dict[str, Any] = {}
    missing: list[str] = []
    if settings.get("list") is not None:
        wanted = load_object_list(settings["list"])
        facts |= {"list": wanted.name, "list hash": wanted.hash}
        missing = wanted.missing(r.id for r in records)
        records = [r for r in records if r.id in wanted]
    there = {record.id: record for record in records}
    ids = sorted([*there, *missing])[: settings.get("objects")]
    records = [there[id] for id in ids if id in there]
    for record in records:
        record.check()  # a damaged file is the user's to mend, not a method's failure
    cases = [
        Case.of_record(there[id]) if id in there else _absent(id, f"{module.root} has no such object")
        for id in ids
    ]
    made_from = ("fingerprint", "sha256", "source")
    digests = [(r.id, str([r.recipe, *(r.provenance.get(k) for k in made_from)])) for r in records]
    facts |= {"data": str(module.root), "objects hash": objects_hash(digests)}
    return Objects(cases, data, module.source, facts)


def true_meshes(
    config: Mapping[str, Any], inputs: Mapping[str, Mapping[str, Any]], *, views: bool, shared: bool = False
) -> Objects:
    """The meshes of `truth=`; with `views`, pictures of them are prepared by `plan=` at the size of `scale=`."""
    settings = config["evaluate"]
    with first_then_others(shared):
        source = _open_truth(config)
    failed = getattr(source, "failed", {})
    ids = sorted({*source.ids(), *source.missing, *failed})[: settings.get("objects")]
    there = [id for id in ids if id in set(source.ids())]
    data: dict[str, ReconstructionDataModule] = {}
    unprepared: dict[str, str] = {}
    if views:
        module = _module(config, source, next(iter(inputs.values())), there)
        with first_then_others(shared):
            module.ensure_prepared("test")
        unprepared = {id: why for id, why in failures(module.root, "render").items() if id in there}
        shown = [id for id in there if id not in unprepared]
        data = {name: _module(config, source, node, shown) for name, node in inputs.items()}
    cache = None if settings.get("cache") is None else ArrayCache(settings["cache"])
    cases = [
        _true_mesh(source, id, cache, data, unprepared)
        if id in there
        else _absent(id, failed.get(id, f"{config['truth']} has no mesh of it"))
        for id in ids
    ]
    facts: dict[str, Any] = {
        "truth": str(config["truth"]),
        "objects hash": objects_hash((id, source.fingerprint(id)) for id in there),
    }
    if source.list is not None:
        facts |= {"list": source.list.name, "list hash": source.list.hash}
    if views:
        scale = config["scale"]
        facts["views"] = f"{scale['views']} of {config['plan']['name']}, {scale['pixels']} px"
    notes = []
    listed = source.list
    unchecked = [i for i in source.unchecked if listed is not None and i in there and listed[i].sha256]
    if unchecked and settings.get("check", True):
        count = f"{len(unchecked)} of {len(ids)}"
        notes.append(f"Checksums of {count} objects are of another type of file and were not compared.")
    return Objects(cases, data, source, facts, notes)


def _open_truth(config: Mapping[str, Any]) -> FolderSource:
    settings = config["evaluate"]
    chosen, check = settings.get("list"), settings.get("check", True)
    if settings.get("collection") is None:
        return open_meshes(config["truth"], up=config["truth_up"], list=chosen, check=check)
    return GsoSource(
        root=config["truth"], up=config["truth_up"], list=chosen, check=check, partial=True, labels="unreliable",
        download=bool(settings.get("download")), limit=settings.get("objects"),
    )  # fmt: skip


def _module(
    config: Mapping[str, Any], source: FolderSource, inputs: Mapping[str, Any], ids: Sequence[str]
) -> ReconstructionDataModule:
    node = build(inputs, allow_any=True)
    few = SampleSizes(sdf_points=1, surface_points=1, occupancy=())  # the mesh itself is the truth
    recipe = Recipe(
        plan=build(config["plan"], allow_any=True),
        size=config["scale"]["pixels"],
        targets=0,
        eval_samples=few,
    )
    return ReconstructionDataModule(
        source=source, recipe=recipe, sizes=SceneSizes(views=config["scale"]["views"]), inputs=node,
        eval_inputs=node, ids=ids, test_split="all", seed=config["seed"],
    )  # fmt: skip


def _true_mesh(
    source: FolderSource,
    id: str,
    cache: ArrayCache | None,
    data: Mapping[str, ReconstructionDataModule],
    unprepared: Mapping[str, str],
) -> Case:
    def read() -> MeshTruth:
        turn = None if source.list is None else source.list[id].turn
        return MeshTruth(source.mesh(id), id=id, cache=cache, turn=turn)

    if id in unprepared:
        return Case(id, read, unprepared=f"no views could be made: {unprepared[id]}")
    module = next(iter(data.values()), None)
    record = None if module is None else module.store.record(id)
    return Case(id, read, record)


def _absent(id: str, reason: str) -> Case:
    def read() -> MeshTruth:
        raise InputError(f"{id}: {reason}")

    return Case(id, read, unprepared=reason)
