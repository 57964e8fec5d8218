"""What cannot work is refused in a few plain lines, at once, and leaves nothing behind."""

from __future__ import annotations

import shutil

import pytest

NO_TRACEBACK = "Traceback"


WRONG = [
    (["poolng=mean"], ["poolng", "Did you mean pooling?"]),
    (["pooling=meen"], ["pooling=meen", "Did you mean mean?"]),
    (["precision=fp8"], ["precision", "fp32"]),
    (["folds=1"], ["folds=1", "at least 2"]),
    (["layer=9"], ["layer=9", "stage4"]),
    (["pooling=gem", "pooling.p=-1"], ["pooling.p=-1"]),
    (["task=metadata"], ["task.column is missing"]),
    (["retrieval.radius_mm=30"], ["retrieval.radius_mm is task.radius_mm now"]),
    (["dataset=brats", "dataset.root=2021"], ["2021"]),
]
"""Of every kind of mistake one; all that can be made in a configuration are under tests/experiment."""


@pytest.mark.parametrize(("arguments", "said"), WRONG, ids=lambda given: " ".join(given))
@pytest.mark.parametrize("sweep", [False, True], ids=["run", "sweep"])
def test_a_wrong_command_is_refused_in_plain_lines_and_leaves_nothing(project, arguments, said, sweep):
    outcome = project.run(*(["-m", "seed=0,1"] if sweep else []), *arguments)
    assert outcome.returncode == 2
    assert NO_TRACEBACK not in outcome.stderr and "Warning" not in outcome.stderr
    assert len(outcome.stderr.strip().splitlines()) <= 6, outcome.stderr
    for words in said:
        assert words in outcome.stderr
    assert not project.has_runs
    assert not (project.folder / "cache").exists()


def test_an_experiment_that_is_a_sweep_says_that_it_needs_m(project):
    """Hydra alone would run its defaults once."""
    outcome = project.run("experiment=levels_and_poolings")
    assert outcome.returncode == 2 and NO_TRACEBACK not in outcome.stderr
    assert "experiment=levels_and_poolings is a sweep over layer, pooling" in outcome.stderr
    assert "python run.py -m experiment=levels_and_poolings" in outcome.stderr
    assert not project.has_runs and not (project.folder / "cache").exists()


def test_a_wrong_value_in_the_last_job_stops_the_sweep_before_the_first(project):
    outcome = project.run("-m", "layer=4,3,9")
    assert outcome.returncode == 2 and "layer=9" in outcome.stderr
    assert not (project.folder / "cache").exists()


def test_a_cohort_too_small_for_its_folds_is_refused_with_what_to_do(project, small_cohort):
    for cases, expected in ((1, "1 patient"), (3, "folds=3")):
        root = project.folder / f"cohort{cases}"
        for folder in sorted(small_cohort.iterdir())[:cases]:
            shutil.copytree(folder, root / folder.name)
        outcome = project.run("encoder=voxels", "dataset=brats", f"dataset.root={root}", "figures=false")
        assert outcome.returncode == 2, outcome.stderr
        assert expected in outcome.stderr and NO_TRACEBACK not in outcome.stderr
        assert not (project.folder / "cache" / "store" / "features").exists()


def test_a_damaged_case_is_named_and_the_rest_is_scored(project, small_cohort):
    root = project.folder / "damaged"
    shutil.copytree(small_cohort, root)
    torn = root / "Small_00003" / "Small_00003_flair.nii.gz"
    torn.write_bytes(torn.read_bytes()[:3000])
    (root / "Small_00006" / "Small_00006_t2.nii.gz").unlink()
    command = ["encoder=voxels", "dataset=brats", f"dataset.root={root}", "figures=false", "task.radius_mm=30"]
    outcome = project.run(*command)
    assert outcome.returncode == 0, outcome.stderr
    for case in ("Small_00003", "Small_00006"):
        assert outcome.stderr.count(f"case {case}") == 1
    (run,) = project.finished()
    assert (run.data.tags["cohort/cases"], run.data.tags["cohort/excluded"]) == ("8", "2")

    (root / "Small_00006" / "Small_00006_t2.nii.gz").write_bytes(
        (small_cohort / "Small_00006" / "Small_00006_t2.nii.gz").read_bytes()
    )
    assert project.run(*command).returncode == 0
    strict = project.run(*command, "dataset.strict=true")
    assert strict.returncode == 2 and "Small_00003" in strict.stderr


def test_an_empty_label_leaves_the_case_out_of_what_needs_a_center(project, small_cohort):
    import nibabel as nib
    import numpy as np

    root = project.folder / "empty"
    shutil.copytree(small_cohort, root)
    path = root / "Small_00002" / "Small_00002_seg.nii.gz"
    label = nib.load(path)
    nib.save(nib.Nifti1Image(np.zeros(label.shape, np.uint8), label.affine), path)
    outcome = project.run("encoder=voxels", "dataset=brats", f"dataset.root={root}", "figures=false")
    assert outcome.returncode == 0, outcome.stderr
    assert "Small_00002" in outcome.stderr and "no voxel of whole_tumor" in outcome.stderr
    (run,) = project.finished()
    assert (run.data.tags["cohort/cases"], run.data.tags["cohort/excluded"]) == ("9", "1")


def test_one_image_under_two_patients_is_refused_unless_declared(project, small_cohort):
    import nibabel as nib
    import numpy as np

    root = project.folder / "twice"
    shutil.copytree(small_cohort, root)
    first, second = (root / f"Small_{n:05d}" / f"Small_{n:05d}_t1.nii.gz" for n in (3, 7))
    shutil.copy(first, second)
    run = ("encoder=voxels", "dataset=brats", f"dataset.root={root}", "figures=false")
    refused = project.run(*run)
    assert refused.returncode == 2 and NO_TRACEBACK not in refused.stderr
    for words in ("Small_00003", "Small_00007", "_t1.nii.gz", "dataset.duplicates=allow"):
        assert words in refused.stderr
    assert not (project.folder / "cache" / "store" / "features").exists()
    # Stored as other numbers, and thus compressed to other bytes, it is known again when it is read.
    image = nib.load(first)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj).astype(np.float32), image.affine), second)
    refused = project.run(*run)
    assert refused.returncode == 2 and "Small_00003 and Small_00007" in refused.stderr
    assert not project.finished() and not project.finished("reference")
    allowed = project.run(*run, "dataset.duplicates=allow")
    assert allowed.returncode == 0, allowed.stderr
    again = project.run(*run)
    assert again.returncode == 2 and "Small_00003 and Small_00007" in again.stderr, (
        "what was allowed once is no finished run"
    )


def test_help_and_a_typo_import_nothing_heavy(project):
    """What takes seconds to import is not needed to say what is wrong."""
    heavy = ("torch", "monai", "mlflow", "sklearn", "umap", "matplotlib", "pandas", "scipy.stats")
    for arguments in (["--help"], ["poolng=mean"], ["layer=9"]):
        assert project.loaded(heavy, *arguments) == []


def test_the_doctor_lists_problems_and_says_how_many_cases_are_usable(project, small_cohort):
    healthy = project.cli("check", str(small_cohort))
    assert healthy.returncode == 0 and "10 usable, 0 unusable" in healthy.stdout
    root = project.folder / "sick"
    shutil.copytree(small_cohort, root)
    (root / "Small_00001" / "Small_00001_t1.nii.gz").write_bytes(b"nothing")
    sick = project.cli("check", str(root))
    assert sick.returncode == 1
    assert "unusable: case Small_00001" in sick.stdout and "9 usable, 1 unusable" in sick.stdout


def test_a_leaderboard_without_runs_says_so(project):
    outcome = project.cli("leaderboard")
    assert outcome.returncode == 2 and "python run.py" in outcome.stderr
