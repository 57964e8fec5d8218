"""From volumes to embeddings: preprocessing, inferers, poolings, the feature store, extraction."""
