"""The exported, self-contained search index of one configuration."""
