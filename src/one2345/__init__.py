"""One-2-3-45: a single image to a textured mesh without per-shape optimisation (arXiv 2306.16928)."""

__version__ = "0.1.0"
__all__ = ["__version__"]
