"""PSNR of a synthesiser's views of held-out objects, beside two views that know less: the mean image of the training
views, and its own picture for another pose.

    python experiments/zero123_mini/measure.py --weights RUN --train DIR --test DIR [--steps 4] [--sheet FILE]

RUN: a run folder of experiment=zero123_mini. --train: prepared objects that it was trained on (for the mean image).
--test: prepared objects of plan=published that it was not. Stage-1 views are made from the input view, near views
from the true stage-1 views, as in the published training set; --chain: from the made ones.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from one2345.data.predict import PredictSettings, plan_requests
from one2345.seeding import key, torch_rng
from one2345.views import ObjectRecord, list_objects, object_folder, read_object
from one2345.views.synthesis import ViewRequest
from one2345.views.zero123 import Zero123Synthesizer


def resized(images: Tensor, size: int) -> Tensor:
    return interpolate(images, (size, size), mode="bilinear", antialias=True).clamp(0, 1)


def objects(root: Path, split: str) -> list[ObjectRecord]:
    found = [read_object(object_folder(root, id)) for id in list_objects(root)]
    return [record for record in found if record.split == split]


def psnr(images: Tensor, truth: Tensor) -> Tensor:
    return -10 * torch.log10((images - truth).square().flatten(1).mean(1))


def shuffled(requests: list[ViewRequest], among: list[list[int]], object_id: str) -> list[ViewRequest]:
    """Every request with the pose of another one of its group, each pose once and none in its place."""
    changed = list(requests)
    for group in among:
        order = torch.randperm(
            len(group), generator=torch_rng("shuffled pose", object_id, len(group))
        ).tolist()
        for here, there in zip(order, order[1:] + order[:1], strict=True):
            pose = requests[group[there]]
            changed[group[here]] = replace(
                requests[group[here]], azimuth=pose.azimuth, elevation=pose.elevation
            )
    return changed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--chain", action="store_true")
    parser.add_argument("--sheet", type=Path)
    asked = parser.parse_args()
    started = time.process_time()
    synthesizer = Zero123Synthesizer(
        weights=asked.weights,
        steps=asked.steps,
        near_steps=asked.steps,
        guidance=1.0,
        eta=0.0,
        scheduler={"name": "DDIMScheduler", "timestep_spacing": "trailing"},
        chunk=64,
    )
    size = synthesizer.size
    mean = torch.stack(
        [resized(record.views().images, size).mean(0) for record in objects(asked.train, "train")]
    ).mean(0)
    kinds = (
        "stage 1",
        "turned",
        "near",
        "all",
    )  # turned: stage 1 without the view from the input's own camera
    rows: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    sheet = []
    for record in objects(asked.test, "test"):
        requests, sources = plan_requests(record, PredictSettings(stage1=True))
        images = dict(zip(record.names, resized(record.views().images, size), strict=True))
        truth = torch.stack([images[r.name] for r in requests])
        given = torch.stack([images[s] for s in sources])
        stage1 = [i for i, r in enumerate(requests) if r.parent is None]
        near = [i for i, r in enumerate(requests) if r.parent is not None]
        seed = key(asked.seed, record.id)
        if asked.chain:
            made = synthesizer([requests[i] for i in stage1], given[stage1], seed=seed).images
            names = [requests[i].name for i in stage1]
            given[near] = torch.stack([made[names.index(sources[i])] for i in near])
        pictures = {
            "own": synthesizer(requests, given, seed=seed).images,
            "shuffled among its kind": synthesizer(
                shuffled(requests, [stage1[1:], near], record.id), given, seed=seed
            ).images,
            "shuffled among all": synthesizer(
                shuffled(requests, [stage1 + near], record.id), given, seed=seed
            ).images,
            "mean image": mean.expand_as(truth),
            "source": given,
        }
        for kind, which in zip(kinds, (stage1, stage1[1:], near, stage1 + near), strict=True):
            rows[kind].append({n: float(psnr(p[which], truth[which]).mean()) for n, p in pictures.items()})
        shown = [*stage1, near[0], near[2]]
        sheet += [
            torch.cat([given[0], *truth[shown]], -1),
            torch.cat([torch.ones_like(given[0]), *pictures["own"][shown]], -1),
        ]
    result = {
        kind: {n: round(float(np.mean([r[n] for r in found])), 2) for n in found[0]}
        for kind, found in rows.items()
    }
    facts = {"objects": len(rows["all"]), "size": size, "steps": asked.steps, "seed": asked.seed}
    facts |= {"chain": asked.chain, "cpu_seconds": round(time.process_time() - started, 1)}
    print(json.dumps({**facts, "psnr": result}, indent=1))
    if asked.sheet is not None:
        pixels = (torch.cat(sheet[:16], -2) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        zoom = 2 if size < 64 else 1
        Image.fromarray(pixels).resize(
            (pixels.shape[1] * zoom, pixels.shape[0] * zoom), Image.Resampling.NEAREST
        ).save(asked.sheet)


if __name__ == "__main__":
    main()
