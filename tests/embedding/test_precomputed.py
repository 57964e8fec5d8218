"""``encoder=precomputed``: vectors from a file in the place of a network."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from neuroprint.catalog.menu import Catalog
from neuroprint.data.formats.brats import BraTSFormat
from neuroprint.embedding.embed import embed
from neuroprint.embedding.embeddings import Embeddings
from neuroprint.embedding.precomputed import PrecomputedEncoder
from neuroprint.embedding.store import FeatureStore
from neuroprint.errors import NeuroprintError
from neuroprint.tasks import TumorPosition
from neuroprint.tasks.evaluate import evaluate


@pytest.fixture(scope="module")
def cohort(small_cohort):
    return BraTSFormat(str(small_cohort)).cohort()


@pytest.fixture
def table(cohort):
    vectors = np.random.default_rng(0).normal(size=(len(cohort), 6)).astype(np.float32)
    return pd.DataFrame({"case": [case.id for case in cohort.cases], "embedding": list(vectors)})


@pytest.fixture
def file(table, tmp_path):
    table.to_parquet(tmp_path / "mine.parquet", index=False)
    return tmp_path / "mine.parquet"


def precomputed(file, **values):
    return Catalog().part("encoder", "precomputed", path=str(file), **values)


def test_they_are_the_files_vectors_and_no_scan_is_read_for_them(cohort, table, file, tmp_path):
    found = embed(cohort, precomputed(file), store=tmp_path / "store")
    np.testing.assert_array_equal(found.vectors, np.stack(list(table["embedding"])))
    assert (found.name, found.similarity, dict(found.excluded)) == ("mine", "cosine", {})
    assert found.scanned is None and not (tmp_path / "store").exists()


def test_level_pooling_and_inferer_make_no_difference(cohort, file):
    one = embed(cohort, precomputed(file))
    other = embed(cohort, precomputed(file), "precomputed", "pyramid", inferer="sliding")
    np.testing.assert_array_equal(one.vectors, other.vectors)


def test_they_say_what_they_are_made_for(cohort, file):
    assert embed(cohort, precomputed(file, similarity="dot")).similarity == "dot"
    with pytest.raises(NeuroprintError, match="similarity=manhattan"):
        embed(cohort, precomputed(file, similarity="manhattan"))


def test_they_score_as_the_same_vectors_from_memory(cohort, table, file, tmp_path):
    task = TumorPosition(radius_mm=30)
    by_file = evaluate(embed(cohort, precomputed(file), store=tmp_path / "store"), task)
    by_memory = evaluate(Embeddings(cohort, table, store=FeatureStore(tmp_path / "store")), task)
    assert by_file.metrics == by_memory.metrics
    assert set(by_file.references) == {"chance", "voxels", "oracle"}


def test_a_case_that_the_file_lacks_is_left_out_and_named(cohort, table, tmp_path):
    table[table["case"] != "Small_00004"].to_parquet(tmp_path / "short.parquet")
    found = embed(cohort, precomputed(tmp_path / "short.parquet"))
    assert len(found) == 9 and found.excluded == {"Small_00004": "it has no embedding"}


def test_cases_of_other_cohorts_in_the_file_are_ignored(cohort, table, file):
    half = cohort.where(lambda case: case.id < "Small_00005")
    assert embed(half, precomputed(file)).ids == tuple(table["case"][:5])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.assign(case="x" + table["case"]), "expected Small_00000 ..., found xSmall_00000 ..."),
        (lambda table: table[:0], "expected Small_00000 ..., found none"),
        (
            lambda table: table.rename(columns={"embedding": "vector"}),
            "has the columns case, vector, expected case and",
        ),
        (lambda table: pd.concat([table, table[3:4]]), "case Small_00003 appears twice"),
        (lambda table: table.assign(embedding=[[n] * (n + 1) for n in range(10)]), "has 2 numbers, expected 1"),
    ],
    ids=["no case of the cohort", "no row", "other columns", "a case twice", "several sizes"],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(change, said, cohort, table, tmp_path):
    change(table).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(NeuroprintError, match=re.escape(said)) as caught:
        embed(cohort, precomputed(tmp_path / "other.parquet"))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named_at_once(tmp_path):
    with pytest.raises(NeuroprintError, match=r"encoder\.path=.*none\.parquet: there is no such file"):
        precomputed(tmp_path / "none.parquet")
    with pytest.raises(NeuroprintError, match="encoder=precomputed: path is missing: give it as path=VALUE"):
        Catalog().part("encoder", "precomputed")


def test_other_vectors_are_another_encoder_and_the_place_of_the_file_is_not(table, file, tmp_path):
    moved = tmp_path / "moved.parquet"
    moved.write_bytes(file.read_bytes())
    one, same = PrecomputedEncoder(str(file)), PrecomputedEncoder(str(moved))
    table[::-1].to_parquet(tmp_path / "other.parquet", index=False)
    assert one.identity == same.identity != PrecomputedEncoder(str(tmp_path / "other.parquet")).identity


def test_there_is_no_network_for_a_new_scan(file):
    encoder = PrecomputedEncoder(str(file))
    with pytest.raises(NeuroprintError, match="no network: it cannot embed a new scan"):
        encoder.load("cpu")
    assert embed_recipe(encoder).untrained() is None


def embed_recipe(encoder):
    from neuroprint.embedding.recipe import Recipe

    part = Catalog().part
    return Recipe.of(part("encoder", encoder), None, part("pooling", "mean"), part("inferer", "whole"))
