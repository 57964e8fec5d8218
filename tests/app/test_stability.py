"""The same seed gives the same numbers, however many work on it and in whatever order the files came to disk."""

from __future__ import annotations

import shutil

import pytest


@pytest.mark.slow
def test_neither_the_order_of_files_nor_the_number_of_workers_moves_a_number(new_project, small_cohort):
    found = []
    for backwards in (False, True):
        project = new_project()
        for folder in sorted(small_cohort.iterdir(), reverse=backwards):
            for file in sorted(folder.iterdir(), reverse=backwards):
                (project.folder / "cohort" / folder.name).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, project.folder / "cohort" / folder.name / file.name)
        where = ("dataset=brats", f"dataset.root={project.folder / 'cohort'}", "task.radius_mm=30")
        network = ("encoder=untrained", "encoder.feature_size=12", "encoder.spacing_mm=6", "figures=false")
        project.environment["OMP_NUM_THREADS"] = "2" if backwards else "1"
        workers = [project.start(*where, *network) for _ in range(2 if backwards else 1)]
        for worker in workers:
            _, err = worker.communicate(timeout=300)
            assert worker.returncode == 0, err
        found.append(project.scores())
    assert len(found[0]) == 4
    assert found[0] == found[1]
