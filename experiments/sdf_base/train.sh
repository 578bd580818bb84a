#!/bin/sh
# Makes the weights of the package again: sh experiments/sdf_base/train.sh POOL WORK
# POOL: meshes with a manifest.csv (id, file, split, tier, closed_even). WORK: gets the prepared data, the run and the
# release. A second call goes on where the first was stopped.
set -eu
pool=$1 work=$2
python prepare.py source=folder "source.root=$pool" 'source.where={tier: core, closed_even: y}' plan=published \
    render.size=128 "out=$work/pool"
python prepare.py source=shapes source.train=240 plan=published render.size=128 "out=$work/shapes"
OMP_NUM_THREADS=1 python train.py experiment=sdf_mixed scale=laptop scale.steps=5400 scale.val_every=600 \
    model.split_views=false model.coherence=false model.compressed=null model.volume_net.in_channels=38 \
    "data.root=$work/pool" "data.also=[$work/shapes]" data.batch_size=1 \
    trainer=ddp trainer.devices=2 trainer.accelerator=cpu evaluate.objects=12 "run.root=$work/runs" run.id=sdf_base
rm -rf "$work/release"
python -m one2345.cli.release "$work/runs/sdf_mixed/sdf_base" "$work/release" --title sdf_base
