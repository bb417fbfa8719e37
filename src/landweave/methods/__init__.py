"""Methods: settings in, a model, its loss and its predictions out. The union `Method` is the list of them all."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from landweave.methods.adapt import Adapt
from landweave.methods.base import MethodConfig
from landweave.methods.contrast import Contrast
from landweave.methods.reconstruct import Reconstruct
from landweave.methods.segment import Segment
from landweave.methods.supervised import Supervised
from landweave.methods.uperfuse import UPerFuse

Method = Annotated[Supervised | Segment | UPerFuse | Contrast | Adapt | Reconstruct, Field(discriminator="kind")]
"""Any method, told by `kind`."""

__all__ = ["Adapt", "Contrast", "Method", "MethodConfig", "Reconstruct", "Segment", "Supervised", "UPerFuse"]
