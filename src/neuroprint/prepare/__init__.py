"""From the scanner to a cohort's space: raw scans, each on a grid of its own and with a skull, made comparable."""
