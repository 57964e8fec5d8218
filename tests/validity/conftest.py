from collections.abc import Callable

import numpy as np
import pytest

from neuroprint.evaluation.subjects import Subjects

MakeSubjects = Callable[..., Subjects]


@pytest.fixture
def make_subjects() -> MakeSubjects:
    """Subjects with tumours spread over a brain; every ``visits`` consecutive cases are one patient."""

    def make(n: int, seed: int = 0, visits: int = 1) -> Subjects:
        rng = np.random.default_rng(seed)
        centres = rng.normal(size=(n, 3)) * [30.0, 35.0, 20.0]
        return Subjects(
            ids=tuple(f"case-{number:05d}" for number in range(n)),
            patients=tuple(f"patient-{number // visits:05d}" for number in range(n)),
            centres_mm=centres,
            right=centres[:, 0] > 0,
            metadata={"grade": np.array([["2", "3", "4", ""][number % 4] for number in range(n)], dtype=object)},
        )

    return make
