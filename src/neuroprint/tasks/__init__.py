"""Tasks: what embeddings can be asked. Each owns its targets, relevance, ideal ranking, metrics and figures."""

from neuroprint.tasks.metadata import Metadata
from neuroprint.tasks.overlap import Overlap
from neuroprint.tasks.side import Side
from neuroprint.tasks.task import Task
from neuroprint.tasks.tumor_position import TumorPosition

__all__ = ["Metadata", "Overlap", "Side", "Task", "TumorPosition"]
