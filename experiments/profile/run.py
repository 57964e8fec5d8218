"""What six fingerprints know, what they confuse and what they bear: sweep over questions, then write the page.

    python experiments/profile/run.py [KEY=VALUE ...]
    python experiments/profile/run.py --real FOLDER [KEY=VALUE ...]

Further keys go to every run as they are. With ``--real`` the same on a folder of BraTS cases instead of the clinic's
phantoms, with the questions that need no column; of these only aggregate numbers are written, into ``real/``. What is
finished is not run again.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from command import parse  # noqa: E402
from publish import newest_sweep  # noqa: E402

FINGERPRINTS = ("layer=1,2,4", "pooling=mean,spatial_softmax")


def main() -> None:
    command = parse(str(__doc__), HERE)
    command.run("-m", f"experiment={'profile' if command.real else 'profile_clinic'}", *FINGERPRINTS, *command.given)
    store, out = command.store, command.out
    parent = newest_sweep(store)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(store.artifact(parent, "plots/profile.png"), out)
    table = store.artifact(parent, "profile.md").read_text(encoding="utf-8")
    (out / "profile.md").write_text(f"Written by run.py.\n\n{table}", encoding="utf-8")
    print(f"{parent.info.run_name} -> {out}")


if __name__ == "__main__":
    main()
