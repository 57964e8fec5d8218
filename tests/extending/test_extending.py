"""What a user adds without changing neuroprint: one of each kind, through a sweep, a leaderboard, an export and a query."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGE = "neuroprint_example"
CHOICES = (
    *("dataset=flat", "encoder=edges", "pooling=spread", "projection=centered", "probe=nearest", "task=tumor_depth"),
)
REFUSED = {
    "dataset": "neuroprint_example.dataset.FlatFormat",
    "encoder": "neuroprint_example.encoder.EdgeEncoder",
    "pooling": "neuroprint_example.pooling.spread",
    "task": "neuroprint_example.task.TumorDepth",
}


@pytest.fixture(autouse=True)
def example_package(monkeypatch):
    """The package as it would be after ``pip install``."""
    monkeypatch.syspath_prepend(str(HERE))


@pytest.fixture(scope="module")
def flat(small_cohort, tmp_path_factory):
    """The small cohort in the format of the example; its last case beside it, as a new one."""
    folder = tmp_path_factory.mktemp("extending") / "flat"
    folder.mkdir()
    for case in sorted(small_cohort.iterdir()):
        target = folder if case.name != "Small_00009" else folder.with_name("new")
        target.mkdir(exist_ok=True)
        for file in case.iterdir():
            stem, _, role = file.name.removesuffix(".nii.gz").rpartition("_")
            shutil.copyfile(file, target / f"{stem}.{role}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def neuroprint(warm):
    """``python -m neuroprint ...`` with the package installed, in a folder."""

    def run(folder, *arguments):
        environment = {**os.environ, "PYTHONPATH": str(HERE), "NEUROPRINT_CACHE": str(folder / "cache")}
        return warm.run(folder, environment, "neuroprint", *arguments)

    return run


@pytest.fixture(scope="module")
def project(neuroprint, flat, tmp_path_factory):
    """A folder in which the sweep was run and exported, by the commands that a user gives."""
    folder = tmp_path_factory.mktemp("project")
    sweep = ["run", "-m", "--config-dir", str(HERE / "conf"), *CHOICES, f"dataset.root={flat}", "folds=3"]
    done = neuroprint(folder, *sweep, "pooling.share=1,2", "layer=edges2,edges4")
    assert done.returncode == 0, done.stderr
    return folder


def test_a_pooling_is_numpys():
    from neuroprint_example.pooling import spread

    features = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
    found = spread(torch.from_numpy(features), torch.ones(4, 5, 6)).numpy()
    np.testing.assert_allclose(found, np.ptp(features.reshape(3, -1), axis=1), rtol=1e-6)


def test_a_perturbation_is_darker_towards_one_end(flat):
    from neuroprint_example.perturbation import Darker

    from neuroprint.data.volume import Volume

    scan = Volume(np.full((1, 9, 9, 9), 100, np.int16), None, np.eye(4), ("flair",))
    scan.images[:, 0] = scan.images[:, -1] = scan.images[:, :, 0] = scan.images[:, :, -1] = 0
    changed = Darker(share=0.5)(scan, "a scan").images
    np.testing.assert_allclose(changed[0, 4, 4], np.linspace(50, 100, 9), rtol=1e-6)
    assert "neuroprint_example.perturbation.Darker" in Darker().description["code"]


def test_a_question_of_ones_own_is_asked_by_its_name(project, neuroprint, flat):
    asked = [
        "run",
        "-m",
        "--config-dir",
        str(HERE / "conf"),
        *CHOICES,
        f"dataset.root={flat}",
        "folds=3",
        "layer=edges2",
    ]
    done = neuroprint(project, *asked, "question=darker", "figures=false", "tracking.experiment=questions")
    assert done.returncode == 0, done.stderr
    assert "queries changed by Darker(share=0.5)" in " ".join(done.stdout.split())


def test_a_projection_says_its_steps():
    from neuroprint_example.projection import Centered

    from neuroprint.bundle.projection import apply_steps, steps_of

    X = np.random.default_rng(0).normal(size=(20, 7))
    fitted = Centered().fit(X)
    np.testing.assert_allclose(apply_steps(steps_of(fitted), X), fitted.transform(X), atol=1e-6)


def test_a_probe_is_scikit_learns():
    from neuroprint_example.probe import NearestProbe
    from sklearn.neighbors import KNeighborsRegressor

    rng = np.random.default_rng(0)
    X, y, new = rng.normal(size=(20, 4)), rng.normal(size=(20, 3)), rng.normal(size=(6, 4))
    expected = KNeighborsRegressor(1).fit(X, y).predict(new)
    np.testing.assert_array_equal(NearestProbe().fit(X, y).predict(new), expected)


def test_an_encoder_keeps_what_its_levels_say():
    from neuroprint_example.encoder import EdgeEncoder

    encoder = EdgeEncoder(["flair", "t1"])
    maps = encoder.load("cpu")(torch.rand(1, 2, 8, 12, 16))
    for level, features in zip(encoder.levels, maps, strict=True):
        assert features.shape == (1, level.channels, *(size // level.stride for size in (8, 12, 16)))


@pytest.fixture
def weights_file(tmp_path):
    """Writes weights drawn by a seed, in the form in which training loops on several GPUs keep them."""
    from neuroprint_example.network import TwoStages

    def write(seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            weights = {f"module.{name}": tensor for name, tensor in TwoStages().state_dict().items()}
        file = tmp_path / f"weights{seed}.pt"
        torch.save({"epoch": 1, "state_dict": weights}, file)
        return str(file)

    return write


def test_a_class_with_weights_gives_what_the_module_entry_gives(weights_file):
    from neuroprint.catalog.menu import Catalog

    catalog = Catalog([HERE / "conf"])
    names = ("two_stages", "two_stages_class")
    module, own = (catalog.part("encoder", name, weights=weights_file(1)).made for name in names)
    assert module.trained and own.trained
    assert [(level.channels, level.stride) for level in module.levels] == [(8, 1), (16, 2)]
    assert [(level.channels, level.stride) for level in own.levels] == [(8, 1), (16, 2)]
    image = torch.rand(1, 1, 8, 12, 16)
    for found, expected in zip(own.load("cpu")(image), module.load("cpu")(image), strict=True):
        assert torch.equal(found, expected)


def test_other_weights_of_a_class_are_another_encoder_and_its_twin_is_untrained(weights_file):
    from neuroprint_example.trained import TwoStagesEncoder

    from neuroprint.encoders.twins import untrained_twin

    one, two = (TwoStagesEncoder(weights=weights_file(seed), per_series=["t1"]) for seed in (1, 2))
    twin = untrained_twin(one)
    assert len({json.dumps(encoder.identity) for encoder in (one, two, twin)}) == 3
    assert twin.input == one.input and not twin.trained
    image = torch.rand(1, 1, 8, 8, 8)
    assert not torch.equal(twin.load("cpu")(image)[0], one.load("cpu")(image)[0])


@pytest.mark.parametrize("name", ["two_stages", "two_stages_class"])
def test_a_bundle_answers_with_the_weights_it_was_made_of(name, small_cohort, weights_file, tmp_path):
    import neuroprint as npr
    from neuroprint.catalog.menu import Catalog

    file = weights_file(1)
    catalog, cohort = Catalog([HERE / "conf"]), npr.load_cohort("brats", small_cohort)
    encoder = catalog.part("encoder", name, weights=file)
    embeddings = npr.embed(cohort, encoder, store=tmp_path / "store", catalog=catalog)
    npr.Bundle.build(embeddings, path=tmp_path / "bundle", trust=[PACKAGE])
    Path(file).unlink()
    answer = npr.Bundle.open(tmp_path / "bundle", trust=[PACKAGE]).query(small_cohort / "Small_00003", k=1)
    (match,) = answer.matches
    assert match.case == "Small_00003" and match.similarity == pytest.approx(1.0)


def test_a_dataset_format_finds_its_cases(flat):
    from neuroprint_example.dataset import FlatFormat

    cohort = FlatFormat(flat).cohort()
    assert len(cohort) == 9 and all(case.label for case in cohort.cases)


def test_a_metric_has_the_value_of_its_definition_and_its_expectation_under_chance():
    from neuroprint_example.metric import hit_at_5

    from neuroprint.evaluation.ranked import Judged

    rng = np.random.default_rng(0)
    judged = Judged(rng.random((1, 12)) < 0.2, np.zeros((1, 12)))
    metric = hit_at_5()
    draws = [judged.ranked(rng.permutation(12)[None]) for _ in range(20_000)]
    assert abs(np.mean([metric.of_query(ranked)[0] for ranked in draws]) - metric.expected(judged)[0]) < 0.01
    for ranked in draws[:50]:
        deleted = [metric.of_query(ranked.without(place))[0] for place in range(12)]
        assert metric.without(ranked)[0].tolist() == deleted


def test_a_task_gives_its_question(flat):
    from neuroprint_example.dataset import FlatFormat
    from neuroprint_example.task import TumorDepth

    from neuroprint.data.measure import measure
    from neuroprint.data.volume import read_volume

    cases = FlatFormat(flat).cohort().cases
    facts = {case.id: measure(read_volume(case, ("flair",)), "brats") for case in cases}
    question = TumorDepth(within_mm=4.0).question(cases, facts, "world")
    places = np.arange(len(cases))
    judged = question.judged(places, places)
    apart = np.abs(question.targets - question.targets.T)
    np.testing.assert_array_equal(judged.relevant, (apart <= 4.0) & ~np.eye(len(cases), dtype=bool))


def test_all_of_it_goes_through_a_sweep_and_a_leaderboard(neuroprint, project):
    done = neuroprint(project, "leaderboard", "--json", "--metric", "retrieval/hit_at_5")
    (board,) = json.loads(done.stdout)["leaderboards"]
    rows = {row["name"]: row for row in board["rows"]}
    assert {"chance", "voxels", "oracle"} < set(rows) and len(rows) == 7
    first = next(row for row in board["rows"] if row["role"] == "candidate")
    assert first["retrieval/hit_at_5_lo"] <= first["retrieval/hit_at_5"] <= first["retrieval/hit_at_5_hi"]
    assert rows["oracle"]["retrieval/p_at_5_share"] == pytest.approx(1.0)
    assert {"probe/r2", "probe/mae"} <= set(first) and first["within_mm"] == "5.0"
    printed = neuroprint(project, "leaderboard").stdout
    assert "hit_at_5" in printed


def test_the_doctor_knows_the_format(neuroprint, project, flat):
    done = neuroprint(project, "check", str(flat), "--config-dir", str(HERE / "conf"))
    assert done.returncode == 0 and "9 cases: 9 usable" in done.stdout


def test_an_export_refuses_it_by_name_and_takes_it_with_trust(neuroprint, project, flat):
    # Of nine queries nothing is ranked: a run is named.
    rows = json.loads(neuroprint(project, "leaderboard", "--json").stdout)["leaderboards"][0]["rows"]
    run = next(row["run_id"] for row in rows if row["role"] == "candidate")
    export = ("export", "bundle", "--run", run, "--anyway", "--set", f"dataset.root={flat}")
    refused = neuroprint(project, *export)
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert any(name in refused.stderr for name in REFUSED.values()) and f"--trust {PACKAGE}" in refused.stderr
    done = neuroprint(project, *export, "--trust", PACKAGE)
    assert done.returncode == 0, done.stderr
    assert "a relevant case among the first 5" in (project / "bundle" / "card.md").read_text()

    new = str(flat.with_name("new") / "Small_00009.flair.nii.gz")
    refused = neuroprint(project, "query", "bundle", new)
    assert refused.returncode == 1 and f"--trust {PACKAGE}" in refused.stderr and refused.stderr.count("\n") == 1
    found = neuroprint(project, "query", "bundle", new, "--trust", PACKAGE, "--json", "-k", "3")
    assert len(json.loads(found.stdout)["neighbours"]) == 3, found.stderr
    added = neuroprint(project, "add", "bundle", new, "--trust", PACKAGE)
    assert added.returncode == 0 and "added Small_00009" in added.stdout


def test_the_mlflow_model_takes_it_from_its_environment(warm, project, flat, tmp_path):
    """Runs after the export above, whose registered model it loads."""
    new = str(flat.with_name("new") / "Small_00009.flair.nii.gz")
    lines = [
        "import sys, mlflow.pyfunc, pandas",
        "model = mlflow.pyfunc.load_model('models:/neuroprint@champion')",
        "print(len(model.predict(pandas.DataFrame({'case': [sys.argv[1]]}), params={'k': 2})))",
    ]
    uri = f"sqlite:///{project / 'mlruns' / 'mlflow.db'}"

    script = tmp_path / "load.py"
    script.write_text("\n".join(lines))

    def load(trust):
        named = {"PYTHONPATH": str(HERE), "MLFLOW_TRACKING_URI": uri, "NEUROPRINT_TRUST": trust}
        return warm.run(tmp_path, {**os.environ, **named}, str(script), new)

    refused, found = load(""), load(PACKAGE)
    assert refused.returncode and f"--trust {PACKAGE}" in refused.stderr
    assert found.stdout.split() == ["2"], found.stderr


def test_the_tutorial_shows_these_files():
    """Every block of docs/extending.md that names a file of this folder holds that file."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    shown = re.findall(r"`(tests/extending/[\w./]+)`:?\n+```\w+\n(.*?)```", text, re.DOTALL)
    assert {name for name, _ in shown} == {
        path.relative_to(ROOT).as_posix()
        for path in [*HERE.glob("conf/*/*.yaml"), *HERE.glob("neuroprint_example/*.py")]
        if path.name != "__init__.py"
    }
    for name, content in shown:
        assert content == (ROOT / name).read_text(encoding="utf-8"), name
