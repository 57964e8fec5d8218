"""Launchers that Hydra finds by itself, as it does its own: their modules have to lie in this package of its name."""
