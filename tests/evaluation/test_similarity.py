import numpy as np
import pytest
from sklearn.metrics.pairwise import euclidean_distances

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.similarity import cosine, dot, euclidean, similarity_named

SIZES = [(1, 1, 1), (7, 13, 3), (20, 31, 768), (3, 50, 5000)]


def vectors(m: int, n: int, d: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(m * n * d)
    return (rng.normal(size=(m, d)) * scale).astype(np.float32), (rng.normal(size=(n, d)) * scale).astype(np.float32)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_similarities_are_what_their_names_say(size, scale):
    queries, gallery = vectors(*size, scale)
    wide_queries, wide_gallery = queries.astype(np.float64), gallery.astype(np.float64)
    lengths = np.linalg.norm(wide_queries, axis=1)[:, None] * np.linalg.norm(wide_gallery, axis=1)
    assert cosine(queries, gallery) == pytest.approx(wide_queries @ wide_gallery.T / lengths, abs=3e-8)
    assert dot(queries, gallery) / lengths == pytest.approx(wide_queries @ wide_gallery.T / lengths, abs=1e-7)
    assert -euclidean(queries, gallery) == pytest.approx(
        euclidean_distances(wide_queries, wide_gallery), rel=1e-6, abs=1e-7 * np.sqrt(lengths.max())
    )


@pytest.mark.parametrize("similarity", [cosine, dot, euclidean])
@pytest.mark.parametrize("d", [2, 17, 768, 4099])
def test_equal_vectors_have_equal_similarities_wherever_they_stand(similarity, d):
    # A plain matrix product fails this: its rounding depends on the block of the matrix a row falls into.
    queries, gallery = vectors(23, 37, d)
    copies = np.tile(gallery, (3, 1))
    together = similarity(queries, copies)
    assert np.array_equal(together[:, :37], together[:, 37:74])
    assert np.array_equal(together[:, :37], together[:, 74:])
    order = np.random.default_rng(0).permutation(d)
    shuffled = similarity(np.asfortranarray(queries)[::-1], copies[::-1])[::-1, ::-1]
    assert np.array_equal(together, shuffled)
    if similarity is not euclidean:
        alone = np.concatenate([similarity(queries[[row]], gallery) for row in range(23)])
        assert np.array_equal(together[:, :37], alone)
    assert similarity(queries[:, order], copies[:, order]) == pytest.approx(together, abs=1e-7 * d)


def test_the_cosine_of_a_zero_vector_is_zero():
    queries, gallery = vectors(4, 5, 9)
    queries[1], gallery[2] = 0, 0
    similarity = cosine(queries, gallery)
    assert np.isfinite(similarity).all()
    assert not similarity[1].any() and not similarity[:, 2].any()


@pytest.mark.parametrize("d", [3, 40])
def test_the_distance_of_a_vector_to_itself_is_exactly_zero(d):
    _, gallery = vectors(1, 30, d)
    assert not np.diag(euclidean(gallery, gallery)).any()


def test_an_unknown_similarity_names_the_known():
    with pytest.raises(NeuroprintError, match="cosine, dot, euclidean"):
        similarity_named("cosin")
