"""What cannot work is refused in plain lines before a scan is looked for; old keys are answered with the new ones."""

from __future__ import annotations

import re

import pytest
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from neuroprint.catalog.menu import CONF
from neuroprint.errors import NeuroprintError
from neuroprint.experiment.complaints import explain
from neuroprint.experiment.configuration import RENAMED, check_keys

REFUSED = [
    (["poolng=mean"], ["poolng: there is no such key", "Did you mean pooling?"]),
    (["pooling=meen"], ["pooling=meen: there is no such choice", "Did you mean mean?"]),
    (["task=position"], ["task=position: there is no such choice", "tumor_position"]),
    (["task.radius=30"], ["task.radius", "radius_mm"]),
    (["folds=many"], ["folds", "many"]),
    (["folds=1"], ["folds=1", "at least 2"]),
    (["components=0"], ["components=0", "at least 1"]),
    (["seed=-1"], ["seed=-1", "at least 0"]),
    (["store.keep_maps=-1"], ["store.keep_maps=-1", "at least 0"]),
    (["precision=fp8"], ["precision", "fp32"]),
    (["map=mds"], ["map", "tsne"]),
    (["holdout=1.5"], ["holdout=1.5", "auto"]),
    (["holdout=some"], ["holdout=some", "auto"]),
    (["layer=9"], ["layer=9", "stage4"]),
    (["fingerprint=1"], ["fingerprint=1", "give -m"]),
    (["perturb=poses"], ["perturb=poses: there is no such choice", "pose"]),
    (["perturb=pose", "perturb.degrees=-5"], ["degrees=-5", "0 or more"]),
    (["layer=4.0"], ["layer=4.0", "stage4"]),
    (["layer=[1,1]"], ["layer=[1, 1]", "each once"]),
    (["similarity=manhattan"], ["similarity=manhattan", "cosine"]),
    (["task.radius_mm=-3"], ["radius_mm=-3", "above 0 mm"]),
    (["task.radius_mm=wide"], ["radius_mm=wide", "above 0 mm"]),
    (["task=overlap", "task.min_dice=half"], ["min_dice=half", "at most 1"]),
    (["task.region=edema"], ["region=edema", "whole_tumor"]),
    (["task.weighting=volume"], ["weighting=volume", "binary or label"]),
    (["task.frame=scanner"], ["frame=scanner", "world"]),
    (["task=metadata"], ["task.column is missing", "task.column=VALUE"]),
    (["dataset=brats"], ["dataset.root is missing", "dataset.root=VALUE"]),
    (["dataset.duplicates=keep"], ["dataset.duplicates=keep", "refuse"]),
    (["dataset=manifest", "dataset.root=x.csv", "dataset.labels=foo"], ["dataset.labels=foo", "brats2023"]),
    (["inferer=sliding", "inferer.window=100"], ["inferer.window=100", "multiple of 32"]),
    (["inferer=windows", "inferer.window=abc"], ["inferer.window=abc", "whole number"]),
    (["inferer=windows", "inferer.overlap=abc"], ["inferer.overlap=abc", "less than 1"]),
    (["inferer=windows", "inferer.window=16"], ["inferer.window=16", "multiple of 32"]),
    (["perplexity=0"], ["perplexity=0", "greater than 0"]),
    (["encoder=untrained", "encoder.feature_size=20"], ["feature_size", "12"]),
    (["encoder.spacing_mm=-1"], ["spacing_mm=-1", "greater than 0"]),
    (["device=tpu"], ["device=tpu", "cuda"]),
    (["device=cuda:x"], ["device=cuda:x", "cuda:NUMBER"]),
    (["pooling=gem", "pooling.p=-1"], ["pooling.p=-1"]),
    (["+pooling.foo=1"], ["pooling", "foo"]),
    (["projection=pca", "+projection.foo=1"], ["projection", "foo"]),
]


@pytest.mark.parametrize(("overrides", "said"), REFUSED, ids=lambda given: " ".join(given) if len(given) < 3 else None)
def test_what_cannot_work_is_refused_in_plain_lines(overrides, said, make_experiment):
    with pytest.raises((NeuroprintError, HydraException, OmegaConfBaseException)) as caught:
        make_experiment(*overrides)
    text = explain(caught.value)
    assert len(text.splitlines()) <= 3
    for words in said:
        assert words in text


@pytest.mark.parametrize("old", RENAMED)
@pytest.mark.parametrize("prefix", ["", "+", "++", "~"])
def test_a_key_of_an_earlier_version_is_answered_with_what_it_is_now(old, prefix):
    with pytest.raises(NeuroprintError) as caught:
        check_keys(["-m", "layer=1,2", f"{prefix}{old}=1,2"])
    assert str(caught.value) == (f"{old} is {RENAMED[old]} now" if RENAMED[old] else f"{old} is gone: leave it out")


def test_what_old_keys_are_now_exists():
    top = OmegaConf.load(CONF / "config.yaml")
    groups = {folder.name for folder in CONF.iterdir() if folder.is_dir()}
    for now in filter(None, RENAMED.values()):
        group, _, key = now.partition(".")
        if key:
            assert any(key in OmegaConf.load(file) for file in (CONF / group).glob("*.yaml")), now
        else:
            assert group in top or group in groups, now
    assert not set(RENAMED) & set(map(str, top))


def test_keys_of_this_version_and_flags_pass():
    check_keys(["-m", "task=side,overlap", "task.radius_mm=20", "similarity=dot", "+probe.alphas=[1]", "~pooling"])
    check_keys(["--config-dir=retrieval", "hydra.sweep.dir=target", "encoder.layer_norm=false"])


def test_no_gpu_where_one_was_asked_for(make_experiment):
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    with pytest.raises(NeuroprintError, match=re.escape(f"device=cuda:{count + 1}: this machine has")):
        make_experiment(f"device=cuda:{count + 1}")
