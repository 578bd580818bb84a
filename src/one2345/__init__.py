"""One-2-3-45: a single image to a textured mesh without per-shape optimisation (arXiv 2306.16928)."""
