"""Neuroprint: which fingerprint of a brain scan should you search by?"""

import os

# Threads of PyTorch and of readers share the cores. Those that wait for each other in a loop, as OpenMP's do unless told
# otherwise before it is loaded, take the cores from those that work: extraction took four times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Intel's MKL, PyTorch's matrix product, otherwise adds up in another order for another number of threads, and an embedding
# would depend in its last digits on how many processes share the cores. Asked before it is loaded, it does not; that costs at
# most a twentieth of the default network's time.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

__version__ = "0.1.0"
