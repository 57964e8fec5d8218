"""What can be chosen: conf/'s entries by name, the objects that they describe, and what may be built from elsewhere."""
