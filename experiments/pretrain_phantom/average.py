"""Weights between two stages of a training: what a later stage learned, without all of what it forgot.

    python experiments/pretrain_phantom/average.py 4.safetensors 5.safetensors --share 0.75 --out between.safetensors

The idea is that of Wortsman et al. 2022 (arXiv:2109.01903): fine-tuned weights, averaged with those that they came from, do
better on other data than either. For trainings on phantoms: of images that were learned from, the header would have to tell.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from neuroprint.encoders.checkpoints import load_weights, save_weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("earlier", type=Path)
    parser.add_argument("later", type=Path)
    parser.add_argument("--share", type=float, required=True, help="of the later weights, from 0 to 1")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    earlier, later = (load_weights(path, None) for path in (options.earlier, options.later))
    between = {name: earlier[name].lerp(weight, options.share) for name, weight in later.items()}
    header = {"between": f"{options.earlier.name}, {options.later.name}", "share": str(options.share)}
    print(save_weights(options.out, between, header))


if __name__ == "__main__":
    main()
