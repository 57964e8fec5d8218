"""Neuroprint: which fingerprint of a brain scan should you search by?"""

__version__ = "0.1.0"
