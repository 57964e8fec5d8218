"""Cases and where they come from: BraTS folders, MSD, a manifest, the phantom; targets; the dataset check."""
