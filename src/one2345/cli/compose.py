"""Overrides to a plain, resolved configuration, or one line that says what is wrong and what is near.

Composition is Hydra's; here it is called without its job machinery, so nothing is written and no folder made.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from one2345.build import did_you_mean
from one2345.cli.quoting import TEXT_KEYS
from one2345.errors import InputError
from one2345.paths import conf_dir

# Words that a key takes besides values of its default's type.
WORDS = {
    "trainer.devices": ("auto",), "trainer.num_nodes": (), "data.workers": ("auto",),
    "compile": ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
}  # fmt: skip
# Keys of which only these values make sense.
CHOICES = {
    "trainer.accelerator": ("auto", "cpu", "gpu", "cuda", "mps", "tpu"),
    "trainer.precision": ("32-true", "bf16-mixed", "16-mixed"),
}


@dataclass(frozen=True)
class Composed:
    """A configuration, not yet resolved and without its `hydra` node; what was chosen for each group."""

    config: DictConfig
    choices: dict[str, Any]
    overrides: list[str] = field(default_factory=list)
    launcher: str = "basic"
    sweeper: dict[str, Any] = field(default_factory=dict)  # its node, interpolations left as they stand


def compose(name: str, overrides: list[str]) -> Composed:
    """Compose conf/<name>.yaml with `overrides` (quoted already).

    Raises:
        InputError: an override cannot be read, names no key or option, or its value has the wrong type.
    """
    parsed = [_parse(text) for text in overrides]
    try:
        config = _compose(name, overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(_diagnose(name, parsed, error)) from error
    _check_types(name, parsed, config)
    hydra = config.hydra
    chosen = cast("dict[str, Any]", OmegaConf.to_container(hydra.runtime.choices))
    choices = {group: option for group, option in chosen.items() if not group.startswith("hydra/")}
    launcher = hydra.runtime.choices.get("hydra/launcher", "basic")
    sweeper = cast("dict[str, Any]", OmegaConf.to_container(hydra.sweeper, resolve=False))
    with open_dict(config):
        del config["hydra"]
    return Composed(config, choices, list(overrides), launcher, sweeper)


def to_plain(config: DictConfig) -> dict[str, Any]:
    """All interpolations resolved, as dictionaries, lists, texts, numbers, booleans and None."""
    try:
        return cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)
        if isinstance(error, MissingMandatoryValue):
            raise InputError(f"{key} is not given; it has no default: {key}=...") from error
        raise InputError(f"key {key!r}: {one_line(error)}") from error


def groups() -> dict[str, list[str]]:
    """Config groups of conf/ and their options, `hydra/...` left out."""
    return {
        folder.name: sorted(f.stem for f in folder.glob("*.yaml"))
        for folder in sorted(conf_dir().iterdir())
        if folder.is_dir() and folder.name != "hydra"
    }


def keys_of(node: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of all keys below `node`, inner nodes included."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield f"{prefix}{name}"
            yield from keys_of(value, f"{prefix}{name}.")


def one_line(error: BaseException) -> str:
    """The message of `error` without line breaks."""
    return re.sub(r"\s*\n\s*", "; ", str(error).strip())


def _compose(name: str, overrides: list[str]) -> DictConfig:
    held = GlobalHydra.instance()
    outer = held.hydra
    held.clear()
    try:
        with initialize_config_dir(os.fspath(conf_dir()), version_base="1.3", job_name=name):
            return hydra_compose(name, overrides, return_hydra_config=True)
    finally:
        held.hydra = outer


def _parse(text: str) -> Override:
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException as error:
        hint = "" if "=" in text else "; overrides are written key=value"
        raise InputError(
            f"cannot read the override {text!r}{hint} ({one_line(error).split(';')[0]})"
        ) from error


def _diagnose(name: str, parsed: list[Override], error: Exception) -> str:
    """Find the override that composition stumbled over; the message of `error` if none stands out."""
    known = groups()
    for override in parsed:
        key = override.key_or_group
        if (
            key in known
            and override.value_type is not None
            and (line := _wrong_option(key, override, known[key]))
        ):
            return line
    fine = [o for o in parsed if o.key_or_group in known or "/" in o.key_or_group]
    try:
        base = OmegaConf.to_container(_compose(name, [str(o.input_line) for o in fine]), resolve=False)
    except (HydraException, OmegaConfBaseException) as second:
        return _unknown_group(name, fine, known, second)
    keys = list(keys_of(base))
    for override in parsed:
        key = override.key_or_group
        if key not in keys and key not in known and "/" not in key and not override.is_add():
            return unknown_key(key, keys, known)
    return one_line(error)


def unknown_key(key: str, keys: list[str], known_groups: dict[str, list[str]]) -> str:
    """Message for a key that is not there, naming the nearest one that is."""
    keys = [k for k in keys if not k.startswith("hydra") or key.startswith("hydra")]
    near = did_you_mean(key, [*known_groups, *keys])
    if not near:  # a right name in the wrong place: `max_steps` for `trainer.max_steps`
        last = key.rsplit(".", 1)[-1]
        near = did_you_mean(last, {k.rsplit(".", 1)[-1]: k for k in keys})
        for k in keys:
            if near and near == f"; did you mean {k.rsplit('.', 1)[-1]!r}?":
                near = f"; did you mean {k!r}?"
                break
    if key.rpartition(".")[0] in keys:
        return f"unknown key {key!r}{near or ';'} (+{key}=... adds a key that is not in the configuration)"
    return f"unknown key {key!r}{near or '; --help lists the keys'}"


def _unknown_group(name: str, fine: list[Override], known: dict[str, list[str]], error: Exception) -> str:
    for override in fine:
        if (
            override.key_or_group in known
            and "Could not override" in str(error)
            and override.key_or_group in str(error)
        ):
            return (
                f"{name} has no group {override.key_or_group!r}{did_you_mean(override.key_or_group, known)}"
            )
    return one_line(error)


def _wrong_option(group: str, override: Override, options: list[str]) -> str | None:
    values = override.sweep_string_iterator() if override.is_sweep_override() else [override.value()]
    for value in values:
        for one in value if isinstance(value, list) else [value]:
            if one is not None and str(one) not in options and not (conf_dir() / group / str(one)).is_dir():
                near = did_you_mean(str(one), options)
                return (
                    f"unknown option {str(one)!r} for {group!r}{near or '; there are: ' + ', '.join(options)}"
                )
    return None


def _check_types(name: str, parsed: list[Override], config: DictConfig) -> None:
    """Refuse `seed=abc`: a value whose type is not that of the default it replaces."""
    known = groups()
    plain = [o for o in parsed if o.key_or_group not in known and "/" not in o.key_or_group]
    plain = [o for o in plain if not (o.is_add() or o.is_delete() or o.is_sweep_override())]
    plain = [o for o in plain if not o.key_or_group.startswith("hydra.") and o.key_or_group not in TEXT_KEYS]
    if not plain:
        return
    others = [str(o.input_line) for o in parsed if o not in plain]
    before = _compose(name, others)
    for override in plain:
        key, value = override.key_or_group, override.value()
        if key in CHOICES and value not in CHOICES[key]:
            near = did_you_mean(str(value), CHOICES[key]) or f"; it takes {', '.join(CHOICES[key])}"
            raise InputError(f"value {value!r} of {key!r} is unknown{near}")
        default = _default(before, key)
        text = getattr(value, "text", value)
        expected = _expected(default, text)
        interpolated = isinstance(text, str) and "${" in text
        if expected and not interpolated and value not in WORDS.get(key, ()):
            raise InputError(f"value {text!r} of {key!r} should be {expected} (it is {default!r} by default)")


def _default(config: DictConfig, key: str) -> Any:
    try:
        node = OmegaConf.select(config, key)
    except OmegaConfBaseException:  # an interpolation that only a later step can resolve
        return None
    return OmegaConf.to_container(node) if OmegaConf.is_config(node) else node


def _expected(default: Any, value: Any) -> str | None:
    """What should have stood there, if `value` cannot replace `default`."""
    if default is None or value is None:
        return None
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(default, int | float):
        return None if isinstance(value, int | float) and not isinstance(value, bool) else "a number"
    if isinstance(default, list | dict):
        kind = "a list" if isinstance(default, list) else "a group of keys"
        return None if isinstance(value, type(default)) else kind
    return "a text" if isinstance(value, list | dict) else None


def first_of_sweep(name: str, overrides: list[str]) -> list[str]:
    """`overrides` with every sweep replaced by its first value, once all their options are known to exist."""
    known, first = groups(), []
    for text in overrides:
        override = _parse(text)
        if not override.is_sweep_override():
            first.append(text)
            continue
        if override.key_or_group in known and (
            line := _wrong_option(override.key_or_group, override, known[override.key_or_group])
        ):
            raise InputError(line)
        if (value := _first(override)) is not None:
            first.append(f"{override.get_key_element()}={value}")
    return first


def _first(override: Override) -> Any:
    """The first value of a sweep; of an interval its start."""
    if isinstance(interval := override.value(), IntervalSweep):
        return interval.start
    return next(iter(override.sweep_string_iterator()), None)


def group_node(group: str, option: str) -> dict[str, Any]:
    """conf/<group>/<option>.yaml by itself, interpolations and missing values left as they stand."""
    node = OmegaConf.to_container(OmegaConf.load(conf_dir() / group / f"{option}.yaml"))
    assert isinstance(node, dict)
    return {str(k): v for k, v in node.items() if k != "defaults"}
