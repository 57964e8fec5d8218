"""Training a segmentation network, whose features then become fingerprints."""
