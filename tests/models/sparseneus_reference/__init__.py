"""The published level-0 network in double precision, written out straight, to hold the fast one against.

For tests only. Nothing here is shared with one2345.models: 3D convolutions gather and scatter over lists of sites,
pictures and volumes are read corner by corner, gradients are autograd's. One file per stage:

    scene     raw cameras → the cube that every later quantity lives in
    features  pictures → 56 fused channels, 16 compressed ones
    volume    compressed maps → variance and mean per voxel, counts, leaks
    sparse    active voxels → 16 channels per voxel, over explicit sets of sites
    field     volume and points → latent, signed distance, gradient
    blending  points and source views → colour
    rays      rays → samples, opacities, colours
    training  a batch of rays → losses, gradients

A checkpoint is the released dict; `double` turns it into the flat `Weights` that all stages
take, with names such as "sdf_network_lod0.compress_layer.bn.weight". Sizes that the published code fixes follow from
the arguments: `size` is the side of the pictures (256) and `grid` the number of voxels per axis (96).
"""
