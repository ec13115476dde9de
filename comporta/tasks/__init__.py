"""Tasks: what people do with recurrent networks, one file each, over models, data and training."""

from comporta.tasks.catalog import NAMES, kind, load
from comporta.tasks.kind import Kind, Learned, Prepared, Trained

__all__ = ["NAMES", "Kind", "Learned", "Prepared", "Trained", "kind", "load"]
