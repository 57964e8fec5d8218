"""Scoring embeddings: folds, relevance, retrieval, the probe, and what can be said about the numbers.

Everything here works on arrays. Start at :class:`neuroprint.evaluation.benchmark.Benchmark`.
"""
