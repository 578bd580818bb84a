"""The measuring stick: the published recipe of One-2-3-45's reconstruction, written straight down in plain torch.

What `one2345.models.SparseNeus` with its published quirks computes, from the same weights, the way that the published
code goes about it, so that "how much faster" has a fixed meaning that everyone can run. It is nobody's
program text: it was written from a description of the algorithm and of where its time goes, and it shares no code with
one2345. It is no strawman either: its FLOPs are those that the layer sizes ask for (`counts`), it runs torch's own
kernels in float32, and where there are two ways (the 3D network) both are here. What makes it slow is in the recipe:

    features   the pyramid is enlarged to 56 channels at full resolution for every view, kept for geometry and colour
    volume     every voxel is projected twice; (views x voxels x channels) exists as samples, as their permuted copy, as
               the zeros that copy is written into, and as the square
    network    convolutions over lists of coordinates: 27 times gather, multiply, scatter; or dense and masked
    field      trilinear lookup by eight gathers whose indices are repeated over the channels; 128 outputs of which one
               is read; distance and gradient run the network twice, the gradient through autograd
    blending   193 channels for every pair of point and view, of which 134 are the same for all views; every sample of
               every ray is coloured
    mesh       every node of the lattice is evaluated, and all vertices are coloured at once
"""

from .network import PublishedRecipe, Sources, Volume

__all__ = ["PublishedRecipe", "Sources", "Volume"]
