"""Neuroprint: which fingerprint of a brain scan should you search by?"""

import os

# Threads of PyTorch and of readers share the cores. Those that wait for each other in a loop, as OpenMP's do unless told
# otherwise before it is loaded, take the cores from those that work: extraction took four times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
