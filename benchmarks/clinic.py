"""What the columns of the clinic's phantoms are worth: shares, overlap of grades, survival, what tells the scanner.

    python benchmarks/clinic.py [--cases 80] [--spacing 4] [--seed 0]

Prints a Markdown table. Columns of the patient are taken at the first scan, the scanner at every scan. An AUC of a
class is that of one number, 0.5 being chance; for three scanners it is the mean of each against the others.
"""

from __future__ import annotations

import argparse
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import neuroprint as npr
from neuroprint.data.case import Case
from neuroprint.data.labels import region_labels
from neuroprint.data.volume import read_volume

LOOKS = ("contrast", "noise", "field")
TUMOR = ("cm3", "enhancing")


def measures(case: Case) -> dict[str, float]:
    """Three simple numbers of healthy brain, one of fluid, and the tumor's volume (cm3) and enhancing share."""
    volume = read_volume(case, ("t1", "t2", "flair"))
    t1, t2, flair = volume.images.astype(float)
    assert volume.label is not None
    label, brain = volume.label, t1 > 0
    ill = gaussian_filter((label > 0).astype(float), 2) > 0.02
    inner = (gaussian_filter(brain.astype(float), 2) > 0.95) & ~ill
    # A voxel's distance from its six neighbors' mean is mostly noise.
    around = sum(np.roll(flair, step, axis) for axis in range(3) for step in (-1, 1)) / 6
    weight = gaussian_filter((brain & ~ill).astype(float), 5)
    smooth = gaussian_filter(np.where(brain & ~ill, t1, 0), 5) / np.maximum(weight, 0.05)
    tumor = np.isin(label, list(region_labels(case.label_convention, "whole_tumor", {1, 2, 3})))
    enhancing = np.isin(label, list(region_labels(case.label_convention, "enhancing", {1, 2, 3})))
    low, high = np.percentile(t2[inner], [10, 60])
    return {
        "contrast": float(np.log(high / low)),
        "noise": float(np.median(np.abs(flair - around)[inner]) / np.median(flair[inner])),
        "field": float(np.std(np.log(smooth[brain & ~ill]))),
        "fluid": float((t1[brain & ~ill] < 0.65 * np.percentile(t1[inner], 75)).mean()),
        "cm3": float(tumor.sum() * abs(np.linalg.det(volume.affine[:3, :3])) / 1000),
        "enhancing": float(enhancing.sum() / tumor.sum()),
    }


def concordance(risk: np.ndarray, days: np.ndarray, died: np.ndarray) -> float:
    """Harrell's C: share of the comparable pairs in which the higher risk died first."""
    pairs = [
        (i, j) if days[i] < days[j] else (j, i) for i, j in combinations(range(len(days)), 2) if days[i] != days[j]
    ]
    return float(np.mean([risk[first] > risk[last] for first, last in pairs if died[first]]))


def auc(classes: pd.Series, number: pd.Series) -> float:
    """Of two classes; the second in alphabetical order is the positive one."""
    known = classes.notna()
    return float(roc_auc_score(classes[known] == sorted(classes[known].unique())[-1], number[known]))


def auc_of_scanners(scanners: pd.Series, numbers: pd.DataFrame, patients: pd.Series) -> float:
    """Mean over the scanners, each against the others, of a logistic regression on other patients."""
    model = make_pipeline(StandardScaler(), LogisticRegression())
    chances = cross_val_predict(model, numbers, scanners, groups=patients, cv=GroupKFold(5), method="predict_proba")
    return float(roc_auc_score(scanners, chances, multi_class="ovr"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=80)
    parser.add_argument("--spacing", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cohort = npr.load_cohort("phantom_clinic", cases=options.cases, spacing_mm=options.spacing, seed=options.seed)
    scans = pd.DataFrame([{"patient": c.patient, **c.metadata, **measures(c)} for c in cohort.cases])
    scans["enhances"] = scans["enhancing"] > 0
    patients = scans.drop_duplicates("patient")
    high, low = (patients[patients["grade"] == grade] for grade in ("HGG", "LGG"))
    died = patients["event"] == 1

    def quartiles(numbers: pd.Series) -> str:
        first, median, third = 100 * np.percentile(numbers, [25, 50, 75])
        return f"{median:.0f} % ({first:.0f} to {third:.0f} %)"

    rows = {
        "patients, and those with two scans": f"{len(patients)}, {len(scans) - len(patients)}",
        "patients without `grade`, without `response`": ", ".join(
            str(patients[column].isna().sum()) for column in ("grade", "response")
        ),
        "patients of grade HGG, of response yes": ", ".join(
            f"{(patients[column] == value).sum()} of {patients[column].notna().sum()}"
            for column, value in (("grade", "HGG"), ("response", "yes"))
        ),
        "scans by scanner": ", ".join(
            f"{name} {n}" for name, n in scans["scanner"].value_counts().sort_index().items()
        ),
        "tumors that enhance: HGG, LGG": f"{high['enhances'].mean():.0%}, {low['enhances'].mean():.0%}",
        "enhancing share, median and quartiles: HGG": quartiles(high["enhancing"]),
        "enhancing share, median and quartiles: LGG": quartiles(low["enhancing"]),
        "AUC of grade by enhancing share, by volume": f"{auc(patients['grade'], -patients['enhancing']):.2f}, "
        f"{auc(patients['grade'], -patients['cm3']):.2f}",
        "AUC of response by enhancing share, by volume": f"{auc(patients['response'], patients['enhancing']):.2f}, "
        f"{auc(patients['response'], patients['cm3']):.2f}",
        "patients censored, median survival days": f"{1 - died.mean():.0%}, {patients['survival_days'].median():.0f}",
        "Spearman of volume and days, of those who died": ", ".join(
            f"{spearmanr(some['cm3'], some['survival_days']).statistic:.2f}" for some in (patients, patients[died])
        ),
        "concordance of volume, of enhancing share": ", ".join(
            f"{concordance(patients[name].to_numpy(), patients['survival_days'].to_numpy(), died.to_numpy()):.2f}"
            for name in TUMOR
        ),
        "Spearman of age and share of fluid, of age and volume": ", ".join(
            f"{spearmanr(patients['age'], patients[name]).statistic:.2f}" for name in ("fluid", "cm3")
        ),
        **{
            f"AUC of scanner by {said}": f"{auc_of_scanners(scans['scanner'], scans[list(names)], scans['patient']):.2f}"
            for said, names in {
                "contrast": ("contrast",),
                "noise": ("noise",),
                "receive field": ("field",),
                "all three": LOOKS,
                "the tumor's volume and enhancing share": TUMOR,
            }.items()
        },
    }
    print("| measured | found |\n| --- | --- |")
    for said, found in rows.items():
        print(f"| {said} | {found} |")


if __name__ == "__main__":
    main()
