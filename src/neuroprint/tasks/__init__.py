"""Tasks: what embeddings can be asked. Each owns its targets, relevance, ideal ranking, metrics and figures."""

from neuroprint.tasks.composition import Composition
from neuroprint.tasks.metadata import Metadata
from neuroprint.tasks.overlap import Overlap
from neuroprint.tasks.region import Region
from neuroprint.tasks.side import Side
from neuroprint.tasks.survival import Survival
from neuroprint.tasks.task import Task
from neuroprint.tasks.tumor_position import TumorPosition
from neuroprint.tasks.volume import TumorVolume

__all__ = ["Composition", "Metadata", "Overlap", "Region", "Side", "Survival", "Task", "TumorPosition", "TumorVolume"]
