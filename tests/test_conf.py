"""Every file of conf/ composes, alone and under every command that has its group, and names what exists."""

from collections.abc import Iterator
from typing import Any

import pytest

from one2345.build import _check_keywords, resolve
from one2345.cli.compose import compose, groups, keys_of, to_plain
from one2345.cli.quoting import TEXT_KEYS
from one2345.paths import conf_dir

COMMANDS = [
    name
    for name in ("train", "evaluate", "prepare", "predict", "reconstruct", "app")
    if (conf_dir() / f"{name}.yaml").is_file()
]
# what a configuration must be told before it is complete
NEEDS = {
    "inputs=predicted": ["inputs.root=x"],
    "source=folder": ["source.root=x"],
    "source=gso": ["source.root=x"],
    "source=objaverse": ["source.root=x"],
}


def groups_of(command: str) -> list[str]:
    return [g for g in groups() if g in compose(command, []).choices]


def cases() -> list[tuple[str, str, str]]:
    return [(c, g, o) for c in COMMANDS for g in groups_of(c) for o in groups()[g]]


def targets(node: Any, at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield at, node
        for key, value in node.items():
            yield from targets(value, f"{at}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from targets(value, f"{at}[{index}]")


@pytest.mark.parametrize(("command", "group", "option"), cases())
def test_every_option_composes_and_every_target_takes_its_keywords(command, group, option):
    choice = f"{group}={option}"
    composed = compose(
        command, [choice, *NEEDS.get(choice, [])] + ([] if command != "prepare" else _source(group))
    )
    config = to_plain(_with_run_dir(composed.config))
    for at, node in targets(config):
        if node["_target_"] in (None, "???"):
            continue
        target = resolve(node["_target_"], allow_any=True, at=at)
        given = [k for k in node if k not in ("_target_", "_partial_")]
        _check_keywords(target, node["_target_"], given, partial=node.get("_partial_", False), at=at)


def _source(group: str) -> list[str]:
    return [] if group == "source" else ["source.root=x"]


def _with_run_dir(config: Any) -> Any:
    from omegaconf import OmegaConf

    OmegaConf.set_struct(config, False)
    config.run.dir, config.run.id, config.name = "x", "x", "x"
    return config


@pytest.mark.parametrize("experiment", groups().get("experiment", []))
def test_experiments_set_no_sizes(experiment):
    assert compose("train", [f"experiment={experiment}"]).choices["scale"] == "laptop"


@pytest.mark.parametrize("scale", groups().get("scale", []))
def test_scales_have_the_same_keys(scale):
    keys = set(keys_of(to_plain(compose("train", ["scale=laptop"]).config["scale"])))
    assert set(keys_of(to_plain(compose("train", [f"scale={scale}"]).config["scale"]))) == keys


@pytest.mark.parametrize("command", COMMANDS)
def test_no_hydra_folder_no_change_of_directory(command):
    from one2345.cli.compose import _compose

    hydra = _compose(command, []).hydra
    assert hydra.output_subdir is None
    assert hydra.job.chdir is False


def test_text_keys_that_the_commands_have_are_really_keys():
    known = set()
    for command in COMMANDS:
        config = compose(command, []).config
        known |= set(keys_of(_plain_unresolved(config)))
    later = {"render.python", "run.name"}
    optional = {k for k in TEXT_KEYS if k.startswith("logger.wandb.")} | {
        "data.manifest",
        "source.manifest",
        "inputs.root",
        "data.list",
        "source.url",
        "source.split_file",
        "weights",
        "views.root",
        "views.object",
        "elevation_estimator.matcher.weights",
    }
    assert TEXT_KEYS - later - optional <= known


def _plain_unresolved(config: Any) -> dict[str, Any]:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(config, resolve=False)
