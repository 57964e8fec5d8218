"""What a user adds to neuroprint without changing it: one of each kind."""
