"""Dataset layouts: each is one reader of a folder or file."""
