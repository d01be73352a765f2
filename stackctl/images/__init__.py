"""Container images: the base they stand on, content hashes, building, and moving them between machines."""

from __future__ import annotations

from stackctl.images.archive import Listed, listing, load, push, save
from stackctl.images.base import bootstrap
from stackctl.images.builder import build, ensure, find
from stackctl.images.catalogue import CATALOGUE, Image, images_of
from stackctl.images.prune import Pruned, prune

__all__ = [
    "CATALOGUE",
    "Image",
    "Listed",
    "Pruned",
    "bootstrap",
    "build",
    "ensure",
    "find",
    "images_of",
    "listing",
    "load",
    "prune",
    "push",
    "save",
]
