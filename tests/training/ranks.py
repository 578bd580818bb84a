"""One rank of a small run of `sdf_base` by Lightning, as torchrun would start it: see test_ranks.py.

python ranks.py OUT DATA RANK WORLD PORT
"""

import os
import sys
from pathlib import Path
from typing import Any

GLOBAL, STEPS = 6, 20


def fit(data_root: Path, *, ranks: int, parts: int, steps: int) -> dict[str, Any]:
    """Scores before training, and the loss of every step of the optimiser, as means over the ranks."""
    import lightning.pytorch as pl
    import torch
    import torch.distributed as dist

    from one2345.build import build
    from one2345.cli.compose import compose, to_plain
    from one2345.data import SceneSizes
    from one2345.data.datamodule import ReconstructionDataModule
    from one2345.training import ReconstructionModule

    config = to_plain(
        compose("train", ["model=sdf_base", "debug=limit", "scale=laptop", "+run.dir=x"]).config
    )
    data = ReconstructionDataModule(
        root=data_root,
        ids=[f"ball-{i}" for i in range(7)],
        sizes=SceneSizes(views=8, rays=32, sdf_points=64, surface_points=32, targets=1),
        batch_size=GLOBAL // ranks // parts,
        eval_batch_size=1,
    )
    torch.manual_seed(0)
    module = ReconstructionModule(
        model=build(config["model"]),
        loss=build(config["loss"]),
        optim=build({**config["optim"], "floor": 1.0}),  # the same rates whatever the number of steps
        terms=build(config["training"]["terms"]),
    )
    # In double precision: what rounding leaves in single grows to 1e-4 within twenty steps.
    module.double()
    module.on_after_batch_transfer = lambda batch, _: batch.to(torch.float64)  # type: ignore[method-assign]
    losses: list[float] = []

    class Losses(pl.Callback):
        """Of every batch, as the mean over all ranks."""

        def on_train_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            loss = outputs["loss"].detach().clone().double() * parts  # Lightning has divided it
            if ranks > 1:
                dist.all_reduce(loss)
            losses.append(float(loss) / ranks)

    trainer = pl.Trainer(
        accelerator="cpu", devices=ranks, max_steps=steps, accumulate_grad_batches=parts, callbacks=[Losses()],
        strategy=config_strategy() if ranks > 1 else "auto", gradient_clip_val=1.0, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        limit_val_batches=0, use_distributed_sampler=True,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    steps_of = [sum(losses[i : i + parts]) / parts for i in range(0, len(losses), parts)]
    weights = torch.cat([p.detach().flatten() for p in module.parameters()])
    return {"losses": steps_of, "weights": weights}


def scores(data_root: Path, *, ranks: int, size: int) -> dict[str, float]:
    """What validation says of seven objects, in batches of `size`; the weights are those of the seed."""
    import lightning.pytorch as pl
    import torch

    from one2345.build import build
    from one2345.cli.compose import compose, to_plain
    from one2345.data import SceneSizes
    from one2345.data.datamodule import ReconstructionDataModule
    from one2345.training import ReconstructionModule

    config = to_plain(
        compose("train", ["model=sdf_base", "debug=limit", "scale=laptop", "+run.dir=x"]).config
    )
    torch.manual_seed(0)
    module = ReconstructionModule(
        model=build(config["model"]),
        loss=build(config["loss"]),
        optim=build(config["optim"]),
        terms=build(config["training"]["terms"]),
    )
    torch.nn.init.normal_(module.model.sdf_net.layer2.weight, 0.0, 0.05)  # type: ignore[union-attr]
    data = ReconstructionDataModule(
        root=data_root,
        ids=[f"ball-{i}" for i in range(7)],
        sizes=SceneSizes(views=8, rays=32, sdf_points=64, surface_points=32, targets=1),
        eval_batch_size=size,
    )
    trainer = pl.Trainer(
        accelerator="cpu", devices=ranks, strategy=config_strategy() if ranks > 1 else "auto", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    (found,) = trainer.validate(module, datamodule=data, verbose=False)
    return dict(found)


def config_strategy() -> str:
    """That of conf/trainer/ddp.yaml."""
    from one2345.cli.compose import compose

    return str(compose("train", ["trainer=ddp", "scale=laptop"]).config["trainer"]["strategy"])


def main(out: str, data: str, rank: str, world: str, port: str) -> None:
    """Everything that this number of ranks is to show."""
    os.environ |= {
        "RANK": rank, "LOCAL_RANK": rank, "NODE_RANK": "0", "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }  # fmt: skip
    import torch

    torch.set_num_threads(1)
    ranks, root = int(world), Path(data)
    results: dict[str, Any] = {f"scores {n}": scores(root, ranks=ranks, size=n) for n in (1, 2)}
    results["whole"] = fit(root, ranks=ranks, parts=1, steps=STEPS)
    if ranks != 2:  # which would leave batches of one and a half
        results["parts"] = fit(root, ranks=ranks, parts=2, steps=3)
    torch.save(results, Path(out) / f"{world}-{rank}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
