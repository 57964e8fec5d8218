"""What MLflow gets to see of a path or an address is its last part."""

from __future__ import annotations

import pytest

from neuroprint.catalog.redaction import redact, redact_text


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ("/home/Jane Doe/a b.pt", "a b.pt"),
        ("data/JaneDoe/", "JaneDoe"),
        (r"C:\Users\Jane\model.pt", "model.pt"),
        ("https://jane:pw@host/a/b.pt?X-Amz-Signature=secret/1", "b.pt"),
        ("stage4", "stage4"),
        ("{patient}/{case}/FLAIR.nii*", "{patient}/{case}/FLAIR.nii*"),
        (["**/images/{case}.nii*"], ["**/images/{case}.nii*"]),
        ("/home/Jane Doe/{case}.nii", "{case}.nii"),
        ("~jane/{case}.nii", "{case}.nii"),
        ("../Jane Doe/{case}.nii", "{case}.nii"),
        (r"C:\scans\{case}.nii", "{case}.nii"),
        (3.5, 3.5),
        (None, None),
        ({"weights": ["/a/b", {"deep": "c/d"}]}, {"weights": ["b", {"deep": "d"}]}),
    ],
)
def test_a_value_keeps_its_last_part(value, left):
    assert redact(value) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/home/Jane Doe/x/y.pt: there is no such file", "y.pt: there is no such file"),
        ("encoder.weights=/home/Jane/a.pt is not '/data/b c/d.pt'", "encoder.weights=a.pt is not 'd.pt'"),
        ("data/Jane/x.nii.gz is cut off", "x.nii.gz is cut off"),
        (r"C:\Users\Jane Doe\m.pt is torn", "m.pt is torn"),
        ("no answer from https://host/Jane/b.pt?token=abc of", "no answer from b.pt of"),
        ("folds=1: must be at least 2", "folds=1: must be at least 2"),
    ],
)
def test_a_message_keeps_its_words(text, left):
    assert redact_text(text) == left
