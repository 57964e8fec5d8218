"""The ``neuroprint`` command: everything that is not a run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from neuroprint import __version__
from neuroprint.errors import NeuroprintError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one subcommand; exit 0 if all went well, 1 if something was found wanting, 2 if the command cannot work."""
    options = _parser().parse_args(arguments)
    try:
        code = options.run(options)
    except NeuroprintError as error:
        print(error, file=sys.stderr)
        code = 2
    except BrokenPipeError:
        code = 0
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        code = 130
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="neuroprint", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--version", action="version", version=f"neuroprint {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    phantom = commands.add_parser("phantom", help="write a phantom cohort in BraTS layout")
    phantom.add_argument("out", type=Path, metavar="OUT", help="folder to write to; a broken-off cohort is completed")
    phantom.add_argument("--cases", type=int, default=80, metavar="N", help="how many patients (default: %(default)s)")
    phantom.add_argument("--spacing", type=float, default=2.0, metavar="MM", help="voxel size (default: %(default)s)")
    phantom.add_argument("--seed", type=int, default=0, metavar="S", help="which patients (default: %(default)s)")
    phantom.add_argument("--pose-jitter", action="store_true", help="turn, shift and scale the heads")
    phantom.set_defaults(run=_phantom)

    check = commands.add_parser("check", help="read every case of a dataset and list its problems")
    check.add_argument("root", type=Path, metavar="ROOT", help="a BraTS folder, an MSD task folder, or a manifest CSV")
    check.set_defaults(run=_check)

    train = commands.add_parser("train", help="train a segmentation network on phantoms or on labelled scans")
    train.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="what differs from conf/train.yaml; a stopped training goes on",
    )
    train.set_defaults(run=_train)

    board = commands.add_parser("leaderboard", help="the runs of an experiment, ranked, with intervals")
    board.add_argument("--metric", default="retrieval/p_at_5", metavar="M", help="rank by this (default: %(default)s)")
    board.add_argument("--json", action="store_true", help="print JSON instead of a table")
    board.add_argument("--mlruns", type=Path, default=Path("mlruns"), metavar="DIR", help="default: %(default)s")
    board.add_argument(
        "--mlflow-experiment", default="neuroprint", metavar="NAME", help="MLflow's experiment (default: %(default)s)"
    )
    board.set_defaults(run=_leaderboard)
    return parser


def _phantom(options: argparse.Namespace) -> int:
    from neuroprint.data.phantom.dataset import write_with_progress

    write_with_progress(options.out, options.cases, options.spacing, options.seed, options.pose_jitter)
    print(f"{options.cases} phantoms in {options.out}")
    return 0


def _check(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from neuroprint.data.check import check_cohort
    from neuroprint.data.find import find_cohort

    cohort = find_cohort(options.root)
    with tqdm(total=len(cohort.cases), desc="checking", unit="case", dynamic_ncols=True) as bar:
        modalities = sorted({name for case in cohort.cases for name in case.images})
        problems = check_cohort(cohort, modalities, progress=lambda done, total: bar.update(done - bar.n))
    for problem in problems:
        print(f"{problem.severity}: case {problem.case}: {problem.message}")
    unusable = {problem.case for problem in problems if problem.severity == "unusable"}
    total = len(cohort.cases) + len(cohort.excluded)
    print(f"{total} cases: {total - len(unusable)} usable, {len(unusable)} unusable")
    return 1 if unusable else 0


def _train(options: argparse.Namespace) -> int:
    import logging

    from neuroprint.train import train

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    print(train(options.overrides))
    return 0


def _leaderboard(options: argparse.Namespace) -> int:
    import json

    from neuroprint.tracking.leaderboard import leaderboards, show
    from neuroprint.tracking.store import TrackingStore

    store = TrackingStore(options.mlruns, options.mlflow_experiment)
    if not store.exists:
        raise NeuroprintError(
            f"{options.mlruns} holds no MLflow store: run python run.py first, or name its folder with --mlruns"
        )
    runs = store.search("tags.role = 'candidate' and attributes.status = 'FINISHED'")
    if not runs:
        raise NeuroprintError(f"the MLflow experiment '{options.mlflow_experiment}' has no finished run to rank")
    boards = leaderboards(store, runs, options.metric)
    if options.json:
        tables = [{"group": board.group, "rows": json.loads(board.table.to_json(orient="records"))} for board in boards]
        print(json.dumps({"metric": options.metric, "leaderboards": tables}, indent=2))
        return 0
    show(boards)
    return 0


if __name__ == "__main__":
    main()
