"""``python -m neuroprint``: the same as the command ``neuroprint``."""

from neuroprint.cli.commands import main

main()
