"""Networks with named levels, and their weights."""
