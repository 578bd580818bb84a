"""Synthesisers of views: what makes pictures of an object from other sides."""

from .base import Report, Synthesised, ViewRequest, ViewSynthesizer

__all__ = ["Report", "Synthesised", "ViewRequest", "ViewSynthesizer"]
