"""``neuroprint figures``: a finished run's pictures for the screen and for print."""

from __future__ import annotations

import re


def test_figures_of_a_run_are_written_as_png_and_as_pdf(new_project, artifact):
    project = new_project()
    small = ("dataset.cases=12", "dataset.spacing_mm=8", "encoder=voxels", "figures=false")
    assert project.run("-m", "projection=none,pca", "components=2", *small).returncode == 0
    (parent,) = project.finished("sweep")
    for name in ("leaderboard", "heatmap"):
        assert all(artifact(parent, f"plots/{name}.{end}").is_file() for end in ("png", "pdf"))
    run = project.finished()[0]
    assert not artifact(run, "plots").exists()

    done = project.cli("figures", run.info.run_id, "printed")
    assert done.returncode == 0, done.stderr
    assert "pruned" not in done.stderr  # what is left out of fonts is no news
    names = ("map", "precision_at_k", "probe", "retrieval")
    written = {f"{name}.{end}" for name in names for end in ("png", "pdf")} | {"map.html"}
    assert {path.name for path in (project.folder / "printed").iterdir()} == written
    assert done.stdout.split() == sorted(f"printed/{name}" for name in written)
    for name, inches in (("precision_at_k", 3.5), ("retrieval", 7.2)):
        pdf = (project.folder / "printed" / f"{name}.pdf").read_bytes()
        assert float(re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ", pdf)[1]) == inches * 72
        assert len(pdf) < 1_000_000

    refused = project.cli("figures", "nonesuch", "printed")
    assert refused.returncode == 2 and "there is no such run" in refused.stderr
    refused = project.cli("figures", parent.info.run_id, "printed")
    assert refused.returncode == 2 and "not a finished candidate" in refused.stderr
