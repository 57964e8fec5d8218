"""What can be chosen: conf/'s entries by name, and the building of the objects that they describe."""
