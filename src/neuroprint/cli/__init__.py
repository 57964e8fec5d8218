"""The commands, the Hydra application, and what users are told."""
