"""A bundle as an MLflow model, from code: no pickle is written, and none is read when it is served.

MLflow copies this file into the model and runs it when the model is loaded; its last lines say so.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import mlflow.models
import mlflow.pyfunc

if TYPE_CHECKING:
    import pandas as pd


class BundleModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Answers the path of a case's folder, on the machine that serves, with the most similar cases of the gallery."""

    def load_context(self, context: Any) -> None:
        """Open the bundle that lies in the model; ``NEUROPRINT_TRUST`` names packages, joined by commas, that it may name."""
        from neuroprint.bundle.bundle import Bundle

        trust = [name for name in os.environ.get("NEUROPRINT_TRUST", "").split(",") if name]
        self._bundle = Bundle.open(context.artifacts["bundle"], trust=trust)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row for each case found, best first.

        Args:
            context: Not needed once the bundle is open.
            model_input: A row a query, with the folder's path in ``case``.
            params: ``k``, how many cases to find.

        Returns:
            ``query``, ``rank``, ``case``, ``similarity``, ``percentile``, ``distance_mm`` (NaN where unknown) and
            ``unlike_gallery``.
        """
        import pandas as pd

        from neuroprint.bundle.answer import to_json

        rows: list[dict[str, Any]] = []
        for folder in model_input["case"]:
            found = to_json(self._bundle.query(str(folder), int((params or {}).get("k", 5))))
            shared = {"query": found["query"], "unlike_gallery": found["unlike_gallery"]}
            rows.extend({**shared, **neighbor} for neighbor in found["neighbours"])
        columns = ["query", "rank", "case", "similarity", "percentile", "distance_mm", "unlike_gallery"]
        table = pd.DataFrame(rows, columns=columns)
        return table.astype({"rank": "int64", "percentile": "float64", "distance_mm": "float64"})


mlflow.models.set_model(BundleModel())
