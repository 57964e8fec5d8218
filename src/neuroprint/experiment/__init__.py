"""One configuration from composition to finished run, sweeps, the hold-out and export."""
