"""From a signed distance field to pictures of it: samplers, NeuS weights, compositing."""

from .field import BoundedField, Field, RayRules, ray_interval
from .neus import Variance, neus_alpha, section_slope, weights_from_alpha
from .placed import LocalField, PlacedField
from .render import RayRender, RenderSettings, render_rays
from .samplers import hierarchical, importance, importance_weights, stratified
from .views import RenderedViews, render_views

__all__ = [
    "BoundedField",
    "Field",
    "LocalField",
    "PlacedField",
    "RayRender",
    "RayRules",
    "RenderSettings",
    "RenderedViews",
    "Variance",
    "hierarchical",
    "importance",
    "importance_weights",
    "neus_alpha",
    "ray_interval",
    "render_rays",
    "render_views",
    "section_slope",
    "stratified",
    "weights_from_alpha",
]
