"""The ``neuroprint`` command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neuroprint import __version__
from neuroprint.cli.environment import prepare_process
from neuroprint.cli.raw_scans import as_prepared, prepare_scans, takes_raw_scans, takes_series
from neuroprint.errors import NeuroprintError
from neuroprint.tracking.server import said_by_mlflow

if TYPE_CHECKING:
    from neuroprint.tracking.store import TrackingStore


_FORMATS = {
    "json": "JSON",
    "csv": "a table with every number of every row",
    "latex": "a table for booktabs",
    "markdown": "a table in Markdown, with the ids of the runs",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one subcommand; exit 0 if all went well, 1 if something was found wanting, 2 if the command cannot work."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    prepare_process()
    if given[:1] == ["run"]:  # all that follows is Hydra's
        from neuroprint.cli.application import run

        run(given[1:])
        return
    options = _parser().parse_args(given)
    try:
        code = options.run(options)
    except NeuroprintError as error:
        print(error, file=sys.stderr)
        code = 2
    except BrokenPipeError:
        code = 0
    except Exception as error:
        if (said := said_by_mlflow(error)) is None:
            raise
        print(said, file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        code = 130
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="neuroprint", description="Which fingerprint of a brain scan to search by?")
    parser.add_argument("--version", action="version", version=f"neuroprint {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    commands.add_parser("run", help="one evaluation, or with -m a sweep, as python run.py: neuroprint run --help")

    phantom = commands.add_parser("phantom", help="write a phantom cohort in BraTS layout")
    phantom.add_argument("out", type=Path, metavar="OUT", help="folder to write to; a broken-off cohort is completed")
    phantom.add_argument("--cases", type=int, default=80, metavar="N", help="how many cases (default: %(default)s)")
    phantom.add_argument("--spacing", type=float, default=2.0, metavar="MM", help="voxel size (default: %(default)s)")
    phantom.add_argument("--seed", type=int, default=0, metavar="S", help="which patients (default: %(default)s)")
    phantom.add_argument("--pose-jitter", action="store_true", help="turn, shift and scale the heads")
    phantom.add_argument("--clinic", action="store_true", help="patients with a grade, a survival, a scanner and so on")
    phantom.set_defaults(run=_phantom)

    check = commands.add_parser("check", help="read every case of a dataset and list its problems")
    check.add_argument("root", type=Path, metavar="ROOT", help="a BraTS folder, an MSD task folder, or a manifest CSV")
    _takes_folders(check)
    check.set_defaults(run=_check)

    prepare = commands.add_parser("prepare", help="raw scans, DICOM or NIfTI, into the space of a cohort")
    prepare.add_argument(
        "source", type=Path, metavar="SRC", help="the folder of an examination, or a folder of such folders"
    )
    prepare.add_argument("out", type=Path, metavar="OUT", help="folder to write to; what is done already is kept")
    prepare.add_argument(
        "--like", type=Path, metavar="PATH", help="a cohort, or a bundle (default: the MNI template that nilearn ships)"
    )
    prepare.add_argument("--affine", action="store_true", help="stretch brains to the template (default: keep sizes)")
    takes_series(prepare)
    prepare.add_argument("--workers", type=int, metavar="N", help="cases at a time (default: the processor's cores)")
    _takes_folders(prepare)
    prepare.set_defaults(run=prepare_scans)

    train = commands.add_parser("train", help="train a segmentation network on phantoms or on labeled scans")
    train.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="what differs from conf/train.yaml; a stopped training goes on",
    )
    train.set_defaults(run=_train)

    board = commands.add_parser("leaderboard", help="the runs of an experiment, ranked, with intervals")
    board.add_argument("--metric", metavar="M", help="rank by this (default: the task's, retrieval/p_at_5)")
    board.add_argument(
        "--all",
        dest="everything",
        action="store_true",
        help="all rows of all leaderboards; by default the 25 best and references, of the newest",
    )
    formats = board.add_mutually_exclusive_group()
    for name in ("json", "csv", "latex", "markdown"):
        formats.add_argument(
            f"--{name}", dest="format", action="store_const", const=name, help=f"print {_FORMATS[name]}"
        )
    _takes_store(board)
    board.set_defaults(run=_leaderboard)

    ui = commands.add_parser("ui", help="MLflow's UI, and the address of the latest sweep's ranked view")
    ui.add_argument("--port", type=int, default=5000, metavar="PORT", help="or the next free (default: %(default)s)")
    _takes_store(ui)
    ui.set_defaults(run=_ui)

    figures = commands.add_parser("figures", help="the figures of a run as PNG and PDF, at a journal's column width")
    figures.add_argument("run_id", metavar="RUN", help="its id; neuroprint leaderboard --json gives the ids")
    figures.add_argument("out", type=Path, metavar="OUT", help="folder to write to")
    _takes_store(figures)
    _takes_overrides(figures)
    _takes_trust(figures)
    _takes_folders(figures)
    figures.set_defaults(run=_figures)

    export = commands.add_parser("export", help="the best run, or a named one, as a bundle that answers queries")
    export.add_argument(
        "out", type=Path, metavar="OUT", help="folder of the bundle; a bundle that is there is replaced"
    )
    export.add_argument("--metric", metavar="M", help="best by this (default: the task's, retrieval/p_at_5)")
    export.add_argument("--run", dest="run_id", metavar="ID", help="this run instead of the best")
    export.add_argument("--leaderboard", metavar="ID", help="the best of this one, where the experiment has several")
    export.add_argument("--anyway", action="store_true", help="export a run that is worse than subtracting images")
    export.add_argument(
        "--promote", action="store_true", help="make it the champion in the place of one of another task or cohort"
    )
    _takes_store(export)
    _takes_overrides(export)
    _takes_trust(export)
    _takes_folders(export)
    export.set_defaults(run=_export)
    _bundle_commands(commands)
    return parser


def _bundle_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    query = commands.add_parser("query", help="the cases of a bundle that are most similar to a new one")
    query.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder that neuroprint export made")
    query.add_argument(
        "case", type=Path, metavar="CASE", help="one case: a folder in BraTS layout, or as the gallery's"
    )
    query.add_argument("-k", type=int, default=5, metavar="K", help="how many cases (default: %(default)s)")
    query.add_argument("--group", metavar="COLUMN", help="let the neighbors vote on a metadata column, or on side")
    query.add_argument("--patient", metavar="ID", help="whose scan it is (default: by the case's name)")
    query.add_argument("--json", action="store_true", help="print JSON instead of a table")
    query.add_argument("--report", type=Path, metavar="FILE.html", help="write a page with pictures, map and scores")
    takes_raw_scans(query)
    query.set_defaults(run=_query)

    add = commands.add_parser("add", help="add cases to a bundle")
    add.add_argument("bundle", type=Path, metavar="BUNDLE", help="stays as it is until the longer one is whole")
    add.add_argument("cases", type=Path, nargs="+", metavar="CASE", help="one case each, as query takes them")
    add.add_argument("--patient", metavar="ID", help="whose cases they all are (default: by each case's name)")
    takes_raw_scans(add)
    add.set_defaults(run=_add)

    serve = commands.add_parser("serve", help="a web page and JSON API that answer queries to a bundle")
    serve.add_argument("bundle", type=Path, metavar="BUNDLE")
    serve.add_argument(
        "--host", default="127.0.0.1", metavar="HOST", help="address to listen on (default: %(default)s)"
    )
    serve.add_argument(
        "--port", type=int, default=8765, metavar="PORT", help="0 takes a free one (default: %(default)s)"
    )
    serve.set_defaults(run=_serve)

    for command in (query, add, serve):
        command.add_argument(
            "--weights",
            type=Path,
            action="append",
            default=[],
            metavar="FILE",
            help="weights that the bundle names but does not hold",
        )
        _takes_trust(command)


def _takes_store(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--tracking-uri",
        default=os.environ.get("MLFLOW_TRACKING_URI"),
        metavar="URI",
        help="an MLflow server, http://SERVER:5000 (default: MLFLOW_TRACKING_URI, else the file in --mlruns)",
    )
    command.add_argument("--mlruns", type=Path, default=Path("mlruns"), metavar="DIR", help="default: %(default)s")
    command.add_argument(
        "--mlflow-experiment", default="neuroprint", metavar="NAME", help="MLflow's experiment (default: %(default)s)"
    )


def _takes_overrides(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="where the run's files are now, as MLflow keeps no folders: dataset.root=DIR, encoder.weights=FILE ...",
    )


def _takes_trust(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="run the code of this package where the run or the bundle names it; its author could do anything here",
    )


def _takes_folders(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config-dir",
        dest="folders",
        action="append",
        default=[],
        metavar="DIR",
        help="further choices, laid out like conf/",
    )


def _phantom(options: argparse.Namespace) -> int:
    from neuroprint.phantom.dataset import write_with_progress

    write_with_progress(options.out, options.cases, options.spacing, options.seed, options.pose_jitter, options.clinic)
    print(f"{options.cases} phantoms in {options.out}")
    return 0


def _check(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from neuroprint.catalog.menu import Catalog
    from neuroprint.data.doctor import check_cohort
    from neuroprint.data.load import recognize

    cohort = recognize(options.root.expanduser(), Catalog(options.folders))
    with tqdm(total=len(cohort.cases), desc="checking", unit="case", dynamic_ncols=True) as bar:
        problems = check_cohort(cohort, cohort.modalities, progress=lambda done, total: bar.update(done - bar.n))
    for problem in problems:
        print(f"{problem.severity}: case {problem.case}: {problem.message}")
    unusable = {problem.case for problem in problems if problem.severity == "unusable"}
    total = len(cohort.cases) + len(cohort.excluded)
    print(f"{total} cases: {total - len(unusable)} usable, {len(unusable)} unusable")
    return 1 if unusable else 0


def _train(options: argparse.Namespace) -> int:
    from neuroprint.training.train import train

    _log_to_stderr()
    print(train(options.overrides))
    return 0


def _leaderboard(options: argparse.Namespace) -> int:
    import json
    import math

    import pandas as pd

    from neuroprint.experiment.summary import show_leaderboards
    from neuroprint.tasks.leaderboard import MOST_PRINTED
    from neuroprint.tracking.boards import NEWEST, finished_candidates, leaderboards

    _log_to_stderr()
    store = _store(options)
    runs = finished_candidates(store, None if options.everything else NEWEST)
    boards = leaderboards(store, runs, options.metric)
    most = None if options.everything else MOST_PRINTED
    if options.format == "csv":
        print(pd.concat([board.to_frame() for board in boards]).to_csv(index=False), end="")
    elif options.format == "json":
        tables = [
            {
                "id": board.id,
                "about": board.about,
                "metric": board.metric.name,
                "lower_is_better": board.metric.lower_is_better,
                "confound": board.metric.confound,
                "queries": dict(zip(("asked", "cases"), board.queries, strict=True)),
                "reach": board.reach if math.isfinite(board.reach) else None,
                "rows": json.loads(board.table.to_json(orient="records")),
            }
            for board in boards
        ]
        print(json.dumps({"leaderboards": tables}, indent=2))
    elif options.format:
        texts = [board.to_latex(most) if options.format == "latex" else board.to_markdown(most) for board in boards]
        print("\n\n".join(texts))
    else:
        show_leaderboards(boards, most)
    return 0


def _ui(options: argparse.Namespace) -> int:
    import signal

    from neuroprint.tracking.ui import addresses, running_ui

    store = _store(options)
    if store.server:
        print(*addresses(store, store.server), sep="\n")
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the server must not outlive this command
    try:
        with running_ui(store, options.port) as (address, process):
            print(*addresses(store, address), sep="\n")
            print("Ctrl-C stops it", file=sys.stderr, flush=True)
            sys.stdout.flush()
            process.wait()
    except KeyboardInterrupt:
        return 0
    raise NeuroprintError("MLflow's UI has stopped by itself")


def _figures(options: argparse.Namespace) -> int:
    from neuroprint.experiment.figures import draw_run
    from neuroprint.experiment.session import Session

    _log_to_stderr()
    session = Session(options.folders)
    drawn = draw_run(options.out, _store(options), options.run_id, options.overrides, options.trust, session)
    print("\n".join(map(str, drawn)))
    return 0


def _export(options: argparse.Namespace) -> int:
    from neuroprint.experiment.export import export
    from neuroprint.experiment.session import Session

    _log_to_stderr()
    made = export(
        options.out,
        _store(options),
        options.metric,
        options.run_id,
        options.overrides,
        options.trust,
        Session(options.folders),
        leaderboard=options.leaderboard,
        anyway=options.anyway,
        promote=options.promote,
    )
    print(f"{made.name}: {made.cases} cases in {made.folder} (run {made.run_id})")
    registered = made.registered
    print(
        f"registered in MLflow as neuroprint version {registered.version}"
        + ("" if registered.kept else ", alias champion")
    )
    if registered.kept:
        print(f"the champion is still version {registered.champion}, of another task or cohort: --promote replaces it")
    print(f"what it is and how good: {made.folder / 'card.md'}")
    return 0


def _query(options: argparse.Namespace) -> int:
    import json

    from neuroprint.bundle.answer import to_json
    from neuroprint.bundle.bundle import Bundle
    from neuroprint.bundle.terminal import show_answer

    try:
        bundle = Bundle.open(options.bundle, options.weights, options.trust)
        with as_prepared(options, bundle, [options.case]) as (cases, outcomes):
            found = bundle.query(cases[0], options.k, options.group, options.patient)
        if options.report:
            from neuroprint.bundle.report import write_report

            write_report(found, bundle, options.report)
    except NeuroprintError as error:
        return _one_line(error)
    if options.json:
        made = {"verdict": outcomes[0].verdict, "reasons": list(outcomes[0].reasons)} if outcomes else None
        print(json.dumps({**to_json(found), "prepared": made}, indent=2, allow_nan=False))
    else:
        show_answer(found)
    return 0


def _add(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from neuroprint.bundle.add import add_cases
    from neuroprint.bundle.bundle import Bundle

    try:
        bundle = Bundle.open(options.bundle, options.weights, options.trust)
        with (
            as_prepared(options, bundle, options.cases) as (cases, _),
            tqdm(total=len(cases), desc="extracting", unit="case", dynamic_ncols=True) as bar,
        ):
            added = add_cases(options.bundle, cases, options.weights, bar.update, options.patient, options.trust)
    except NeuroprintError as error:
        return _one_line(error)
    for case in added:
        print(
            f"added {case.case}"
            + (f"; it looks unlike anything that was there: {case.novelty.because}" if case.novelty.is_unlike else "")
        )
    return 0


def _serve(options: argparse.Namespace) -> int:
    import logging

    from neuroprint.bundle.bundle import Bundle
    from neuroprint.bundle.serve import Service

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        bundle = Bundle.open(options.bundle, options.weights, options.trust)
        service = Service(bundle, options.host, options.port)
    except NeuroprintError as error:
        return _one_line(error)
    with service:
        print(f"{service.address} answers queries to {service.bundle.name}; Ctrl-C stops it", flush=True)
        if not service.is_loopback:
            print("anyone who reaches this address may query: there is no password", file=sys.stderr)
        try:
            service.serve_forever()
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
    return 0


def _store(options: argparse.Namespace) -> TrackingStore:
    """The MLflow store that the command line names.

    Raises:
        NeuroprintError: There is none.
    """
    from neuroprint.data.load import store_folder
    from neuroprint.tracking.server import server_or_folder
    from neuroprint.tracking.store import TrackingStore

    server, folder = server_or_folder(options.tracking_uri, options.mlruns)
    store = TrackingStore(folder, options.mlflow_experiment, server, store_folder(None) / "locks" if server else None)
    store.require()
    return store


def _log_to_stderr() -> None:
    import logging

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)


def _one_line(error: NeuroprintError) -> int:
    print(" ".join(str(error).split()), file=sys.stderr)
    return 1
