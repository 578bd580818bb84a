"""A training run by Lightning, from its configuration: what all tasks of train.py have in common."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from one2345.build import build
from one2345.cli.compose import CHOICES, WORDS
from one2345.cli.slurm import trainer_plugins
from one2345.errors import InputError

PRECISIONS = CHOICES["trainer.precision"]
COMPILE_MODES = WORDS["compile"]


def fit(config: Mapping[str, Any], module: Any, data: Any, **options: Any) -> Any:
    """Train `module` on `data`, from `run.resume_from` on if there is one; the Trainer.

    options: further arguments of the Trainer. Raises InputError where memory does not suffice, naming settings that
    need less, and where trainer.precision, determinism=strict or the compilation can't be had.
    """
    import lightning.pytorch as pl

    from one2345.training import determinism

    check_precision(config["trainer"])
    with determinism(config["determinism"]), memory_explained(config), compilation_explained(config):
        trainer = pl.Trainer(
            **config["trainer"],
            logger=[built(node) for node in (config.get("logger") or {}).values() if node],
            callbacks=[built(node) for node in (config.get("callbacks") or {}).values() if node],
            plugins=trainer_plugins(config["trainer"]),
            default_root_dir=Path(config["run"]["dir"]),
            **options,
        )
        trainer.fit(module, datamodule=data, ckpt_path=config["run"].get("resume_from"), weights_only=True)
    return trainer


def built(node: Any) -> Any:
    """The object that a node of the user's own configuration describes; other values as they are."""
    return build(node, allow_any=True) if isinstance(node, Mapping) and "_target_" in node else node


def check_compile(mode: Any) -> None:
    """InputError for what `compile=` doesn't take."""
    if not isinstance(mode, bool) and mode not in COMPILE_MODES:
        raise InputError(f"compile={mode}: takes false, true, {', '.join(COMPILE_MODES)}")


def check_precision(trainer: Mapping[str, Any]) -> None:
    """InputError for a `trainer.precision` that this machine doesn't have."""
    import torch

    precision = str(trainer.get("precision", "32-true"))
    if precision not in PRECISIONS:
        raise InputError(f"trainer.precision={precision}: takes {', '.join(PRECISIONS)}")
    cuda = torch.cuda.is_available() and trainer.get("accelerator") != "cpu"
    if precision == "16-mixed" and not cuda:
        raise InputError("trainer.precision=16-mixed needs a GPU; bf16-mixed works on the CPU too, slowly")
    if precision == "bf16-mixed" and cuda and not torch.cuda.is_bf16_supported(including_emulation=False):
        name = torch.cuda.get_device_name()
        raise InputError(f"trainer.precision=bf16-mixed: {name} has no bfloat16; 16-mixed works there")


@contextmanager
def compilation_explained(config: Mapping[str, Any]) -> Iterator[None]:
    """InputError in the place of what torch.compile raises."""
    if not config.get("compile"):
        yield
        return
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        told = f"compile={str(config['compile']).lower()}"
        raise InputError(
            f"{told}: the step can't be compiled here ({reason}); compile=false trains without"
        ) from error


@contextmanager
def memory_explained(config: Mapping[str, Any]) -> Iterator[None]:
    """InputError, with three settings that help, in the place of what torch raises when memory runs out."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise InputError(_out_of_memory(config, error)) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error) and "not enough memory" not in str(error):
            raise
        raise InputError(_out_of_memory(config, error)) from error


def _out_of_memory(config: Mapping[str, Any], error: BaseException) -> str:
    views = config.get("task") == "view_synthesis"
    scale = (config.get("scale") or {}) if not views else (config.get("scale") or {}).get("synthesis") or {}
    key, parts = "scale.synthesis" if views else "scale", config["trainer"].get("accumulate_grad_batches", 1)
    settings = []
    if (batch := int(scale.get("batch", 1))) > 1:
        settings.append(
            f"{key}.batch={batch // 2} trainer.accumulate_grad_batches={2 * parts} (the same step in smaller parts)"
        )
    if views:
        settings.append("synthesis.gradient_checkpointing=true")
    else:
        settings += [
            f"scale.{k}={int(scale[k]) // 2} (now {scale[k]})" for k in ("rays", "volume") if k in scale
        ]
    settings.append("trainer.precision=bf16-mixed")
    if views and "pixels" in scale:
        settings.append(f"scale.synthesis.pixels={int(scale['pixels']) // 2}")
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"out of memory in training ({reason}); it takes less with {', '.join(settings[:3])}"
