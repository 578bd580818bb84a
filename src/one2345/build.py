"""Plain dictionaries with a `_target_` to objects: how training, pipeline and command line construct.

A node `{_target_: package.Name, keyword: value, ...}` is a call of `package.Name` with those keywords; nodes
within it are built first, `_partial_: true` gives a `functools.partial` instead. Nothing here knows Hydra.

A configuration that arrives with a checkpoint, a run folder or a download is not trusted: it may name only
classes that are *defined* in this package (its command line excepted), optimisers and schedules of torch, and
diffusers' schedulers. Functions and methods are refused: some of this package's own write files. What a module
merely imports (`one2345.x.os.system`) does not count. Whoever knows what the configuration is for narrows it
further with `allowed`.
"""

import difflib
import functools
import importlib
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from one2345.errors import InputError

OWN = "one2345"
# Parts of this package that run what they are told, so that a stranger's configuration may not call them.
REFUSED = ("one2345.build", "one2345.cli", "one2345.app")
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)


def did_you_mean(name: str, known: Iterable[str], count: int = 1) -> str:
    """`; did you mean 'x'?` for the name in `known` nearest to `name`, an empty text if none is near."""
    near = difflib.get_close_matches(name, list(dict.fromkeys(known)), n=count, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ""


@dataclass(frozen=True)
class Trust:
    """What a configuration may name. any: everything. allowed: packages and classes, None for all of ours."""

    any: bool = False
    allowed: tuple[str, ...] | None = None

    def takes_name(self, target: str) -> bool:
        """Whether `target` may be looked up at all."""
        if self.any:
            return True
        if any(part.startswith("_") for part in target.split(".")) or _within(target, REFUSED):
            return False
        return _within(target, (OWN, "torch.optim", "diffusers") if self.allowed is None else self.allowed)

    def takes_object(self, found: Any, target: str) -> bool:
        """Whether `found` is a class that is defined where the allow-list says, wherever it was found."""
        if self.any:
            return True
        module = getattr(found, "__module__", None)
        if not inspect.isclass(found) or not isinstance(module, str) or _within(module, REFUSED):
            return False
        if self.allowed is None:
            return _within(module, (OWN, "torch.optim", "diffusers.schedulers"))
        return target in self.allowed or _within(module, self.allowed)

    def refusal(self, target: str, where: str) -> InputError:
        """The error for a target that is not allowed."""
        what = _ALLOWED if self.allowed is None else f"allowed are the classes of {', '.join(self.allowed)}"
        return InputError(f"target {target!r} is not allowed in this configuration{where}; {what}")


def build(
    node: Mapping[str, Any],
    *,
    allow_any: bool = False,
    allowed: Sequence[str] | None = None,
    **extra: Any,
) -> Any:
    """The object that `node` describes; `extra` keywords join those of the node itself.

    allow_any: for configurations that the user composed on their own command line. allowed: packages whose
    classes, and single classes, that the configuration may name (`one2345.models`); None for all that a
    stranger's may.

    Raises:
        InputError: `node` has no `_target_`, the target is refused or unknown, or a keyword does not fit.
    """
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise InputError(f"a node to build needs a `_target_`, got {_short(node)}")
    trust = Trust(any=allow_any, allowed=None if allowed is None else tuple(allowed))
    return _call({**node, **extra}, trust, "")


def resolve(target: str, *, allow_any: bool = False, at: str = "") -> Any:
    """The class or function that the dotted name `target` stands for; InputError if refused or unknown."""
    return _resolve(target, Trust(any=allow_any), at)


def _resolve(target: str, trust: Trust, at: str) -> Any:
    where = f" (at {at})" if at else ""
    if not isinstance(target, str) or not NAME.fullmatch(target):
        raise InputError(f"`_target_` must be a dotted name, got {target!r}{where}")
    parts = target.split(".")
    if not trust.takes_name(target):
        raise trust.refusal(target, where)
    found, rest = _import(parts, where)
    for part in rest:
        if not hasattr(found, part):
            near = did_you_mean(part, (n for n in dir(found) if not n.startswith("_")))
            raise InputError(f"target {target!r}{where}: {_title(found)} has no {part!r}{near}")
        found = getattr(found, part)
        if not trust.takes_object(found, target):
            raise trust.refusal(target, where)
    if not callable(found):
        raise InputError(f"target {target!r}{where} cannot be called")
    return found


_ALLOWED = f"allowed are classes of {OWN}, torch.optim and diffusers' schedulers"


def _within(name: str, packages: Iterable[str]) -> bool:
    """Whether the dotted `name` is one of `packages` or lies below one."""
    return any(name == package or name.startswith(package + ".") for package in packages)


def _import(parts: list[str], where: str) -> tuple[ModuleType, list[str]]:
    """The longest prefix of `parts` that is a module, and the attributes left to look up."""
    module = None
    for count in range(1, len(parts)):
        name = ".".join(parts[:count])
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
                raise InputError(
                    f"target {'.'.join(parts)!r}{where} needs the package {error.name!r}, "
                    "which is not installed"
                ) from error
            if module is None:
                raise InputError(
                    f"target {'.'.join(parts)!r}{where}: there is no package {name!r}"
                ) from error
            if not hasattr(module, parts[count - 1]):
                near = did_you_mean(parts[count - 1], _submodules(module))
                raise InputError(
                    f"target {'.'.join(parts)!r}{where}: {module.__name__} has no module "
                    f"{parts[count - 1]!r}{near}"
                ) from error
            return module, parts[count - 1 :]
    assert module is not None
    return module, parts[-1:]


def _submodules(module: ModuleType) -> list[str]:
    import pkgutil

    return [info.name for info in pkgutil.iter_modules(getattr(module, "__path__", []))]


def _build_value(value: Any, trust: Trust, at: str) -> Any:
    if isinstance(value, Mapping):
        if "_target_" in value:
            return _call(value, trust, at)
        return {k: _build_value(v, trust, f"{at}.{k}" if at else str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_build_value(v, trust, f"{at}[{i}]") for i, v in enumerate(value))
    return value


def _call(node: Mapping[str, Any], trust: Trust, at: str) -> Any:
    target = _resolve(node["_target_"], trust, at)
    partial = node.get("_partial_", False)
    if not isinstance(partial, bool):
        raise InputError(f"`_partial_` of {node['_target_']} must be true or false, got {partial!r}")
    names = [k for k in node if k not in ("_target_", "_partial_")]
    for name in names:
        if not isinstance(name, str) or not name.isidentifier():
            raise InputError(f"{node['_target_']}: {name!r} is no keyword")
    _check_keywords(target, node["_target_"], names, partial=partial, at=at)
    keywords = {k: _build_value(node[k], trust, f"{at}.{k}" if at else k) for k in names}
    if partial:
        return functools.partial(target, **keywords)
    try:
        return target(**keywords)
    except ValueError as error:  # a constructor's word on a value; anything else is a defect and passes
        raise InputError(f"{node['_target_']}: {error}") from error


def _check_keywords(target: Any, name: str, given: list[str], *, partial: bool, at: str) -> None:
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):  # some compiled callables have no signature
        return
    where = f" (at {at})" if at else ""
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for key in given:
            if key not in named:
                known = (
                    "" if (near := did_you_mean(key, named)) else f"; it takes {', '.join(named) or 'none'}"
                )
                raise InputError(f"{name} takes no keyword {key!r}{where}{near}{known}")
    needed = [p.name for p in parameters if p.name in named and p.default is p.empty and p.name not in given]
    if needed and not partial:
        raise InputError(f"{name} needs {', '.join(map(repr, needed))}{where}")


def _title(found: Any) -> str:
    return found.__name__ if isinstance(found, ModuleType) else getattr(found, "__qualname__", repr(found))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
