"""The menu without Hydra says what Hydra's composition says, and an error names what there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import hydra.utils
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from sklearn.decomposition import PCA

from neuroprint.catalog.menu import CONF, Catalog, Part, name_of, node_of, suggestion
from neuroprint.embedding import poolings
from neuroprint.errors import NeuroprintError
from neuroprint.experiment.configuration import GROUPS, register_schema

# What an entry needs that has no default.
GIVEN = {
    ("dataset", "brats"): {"root": "/scans"},
    ("dataset", "msd"): {"root": "/scans"},
    ("dataset", "manifest"): {"root": "/scans.csv"},
    ("dataset", "bids"): {"root": "/scans"},
    ("dataset", "upenn_gbm"): {"root": "/scans"},
    ("dataset", "ucsf_pdgm"): {"root": "/scans"},
    ("dataset", "lumiere"): {"root": "/scans"},
    ("dataset", "brats_men_rt"): {"root": "/scans"},
    ("dataset", "kaggle"): {"root": "/scans"},
    ("dataset", "pattern"): {"root": "/scans", "images": {"t1": "{case}.nii"}},
    ("encoder", "precomputed"): {"path": "/mine.parquet"},
    ("task", "metadata"): {"column": "grade"},
    ("task", "survival"): {"time": "survival_days", "event": "event"},
}
COMPOSED = (*GROUPS, "tracking")


@pytest.fixture
def composed() -> Iterator[Callable[..., Any]]:
    """What Hydra composes of a group: ``composed("pooling", "pooling=gem", "pooling.p=2")``."""

    def with_hydra(group: str | None, *overrides: str, more: Path | None = None) -> Any:
        register_schema()
        search = [f"hydra.searchpath=[file://{more}]"] if more else []
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("config", [*search, *overrides])
        return OmegaConf.to_container(config[group] if group else config, resolve=True)

    yield with_hydra
    GlobalHydra.instance().clear()


@pytest.fixture
def more(tmp_path: Path) -> Callable[..., Path]:
    """A further folder of choices: ``more("pooling/mine.yaml", "a: 1")``."""

    def write(entry: str, text: str) -> Path:
        path = tmp_path / "more" / entry
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return tmp_path / "more"

    return write


def test_every_group_is_known_to_one_of_these_tests() -> None:
    groups = {folder.name for folder in CONF.iterdir() if folder.is_dir()}
    assert groups == {*COMPOSED, "experiment", "question", "learn_from"}  # the last three are Hydra's alone
    assert all(Catalog().names(group) for group in groups)


@pytest.mark.parametrize("number", range(max(len(Catalog().names(group)) for group in COMPOSED)))
def test_an_entry_is_what_hydra_composes(composed: Callable[..., Any], number: int) -> None:
    """One composition serves an entry of every group."""
    chosen = {group: names[number % len(names)] for group in COMPOSED if (names := Catalog().names(group))}
    given = {group: GIVEN.get(choice, {}) for group, choice in zip(chosen, chosen.items(), strict=True)}
    values = [f"{group}.{key}={value}".replace("'t1'", "t1") for group in chosen for key, value in given[group].items()]
    expected = composed(None, *(f"{group}={name}" for group, name in chosen.items()), *values)
    for group, name in chosen.items():
        assert Catalog().node(group, name, **given[group]) == expected[group], f"{group}={name}"


@pytest.mark.parametrize(
    ("group", "name", "values", "overrides"),
    [
        ("pooling", "gem", {"p": 2.0}, ["pooling.p=2.0"]),
        ("projection", "pca", {"components": 4}, ["components=4"]),
        ("projection", "nca", {"components": 4, "seed": 7}, ["components=4", "seed=7"]),
        (
            "projection",
            "tsne",
            {"perplexity": 12.0, "n_components": 3},
            ["perplexity=12.0", "projection.n_components=3"],
        ),
        ("dataset", "phantom", {"cases": 3, "seed": 2}, ["dataset.cases=3", "dataset.seed=2"]),
        ("encoder", "module", {"network": {"_target_": "a.B", "c": 1}}, ["encoder.network={_target_: a.B, c: 1}"]),
        ("encoder", "untrained", {"modalities": ["t1"]}, ["encoder.modalities=[t1]"]),
    ],
)
def test_values_are_set_as_on_the_command_line(
    composed: Callable[..., Any], group: str, name: str, values: dict[str, Any], overrides: list[str]
) -> None:
    assert Catalog().node(group, name, **values) == composed(group, f"{group}={name}", *overrides)


def test_the_environment_is_read_when_an_entry_is_asked_for(
    composed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog()
    monkeypatch.setenv("NEUROPRINT_CACHE", "/fast")
    assert catalog.node("dataset", "phantom")["root"] == "/fast/phantom"
    assert catalog.node("dataset", "phantom") == composed("dataset", "dataset=phantom")


@pytest.mark.parametrize(
    "text",
    [
        "defaults: [module_unet, _self_]\nlevels: [conv_0]\n",
        "defaults: [_self_, module_unet]\nlevels: [conv_0]\nseed: 4\n",
        "defaults: [module_unet]\nlevels: [conv_0]\nextra: 1\n",
        "defaults: []\na: 1\n",
        "defaults: [voxels, module_unet, _self_]\ndivisor: 8\n",
        "defaults:\n  - /pooling@mine: gem\n  - /inferer@deep.er: windows\n  - _self_\nmine: {p: 2.0}\n",
        "defaults:\n  - /pooling@mine: gem\n",
        "defaults:\n  - /encoder@encoders.x: combined\n  - _self_\na: 1\n",
    ],
)
def test_lists_of_defaults_are_merged_in_hydras_order(
    composed: Callable[..., Any], more: Callable[..., Path], text: str
) -> None:
    folder = more("encoder/mine.yaml", text)
    assert Catalog([folder]).node("encoder", "mine") == composed("encoder", "encoder=mine", more=folder)


@pytest.mark.parametrize(
    "item",
    [
        "optional /pooling@mine: gem",
        "override /pooling: gem",
        "/pooling: gem",
        "pooling@mine: gem",
        "/pooling@mine: [gem, mean]",
        "/pooling@mine: null",
        "voxels@mine",
        "/pooling/gem",
        "[voxels]",
    ],
)
def test_a_form_of_defaults_that_only_hydra_reads_is_said(more: Callable[..., Path], item: str) -> None:
    catalog = Catalog([more("encoder/mine.yaml", f"defaults:\n  - {item}\na: 1\n")])
    with pytest.raises(
        NeuroprintError, match=r"encoder=mine: its list defaults holds .*which only Hydra reads: expected"
    ) as caught:
        catalog.node("encoder", "mine")
    assert "\n" not in str(caught.value)


def test_further_folders_add_entries_and_what_comes_with_neuroprint_counts(
    composed: Callable[..., Any], more: Callable[..., Path]
) -> None:
    more("pooling/gem.yaml", "_target_: mine.gem\n")
    more("pooling/nought.yaml", "_target_: mine.nought\nk: ${components}\n")
    folder = more("verdict/harsh.yaml", "_target_: mine.Harsh\n")
    catalog = Catalog([folder])
    assert catalog.node("pooling", "nought", components=3) == {"_target_": "mine.nought", "k": 3}
    assert catalog.node("pooling", "gem") == Catalog().node("pooling", "gem")
    assert catalog.node("pooling", "gem") == composed("pooling", "pooling=gem", more=folder)
    assert set(catalog.names("pooling")) == {*Catalog().names("pooling"), "nought"}
    assert catalog.names("verdict") == ("harsh",)
    assert catalog.names("pooling") == tuple(sorted(catalog.names("pooling")))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NeuroprintError, match=r"there is no folder .*nowhere: it was to hold further choices"):
        Catalog([tmp_path / "nowhere"])


def test_a_folder_in_the_home_is_found(more: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = more("pooling/mine.yaml", "a: 1\n")
    monkeypatch.setenv("HOME", str(folder.parent))
    assert Catalog(["~/more"]).node("pooling", "mine") == {"a": 1}


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (("pooling", "gme"), "pooling=gme: there is no such choice. Did you mean gem\\? There is: center_of_mass, cov"),
        (("pooling", "xyz"), "pooling=xyz: there is no such choice. There is: center_of_mass, covariance, "),
        (("dataset", "brain"), "dataset=brain: .*There is: bids, brats, brats_men_rt, "),
        (
            ("poolings", "gem"),
            "poolings=gem: there is no group poolings. Did you mean pooling\\? There is: dataset, enc",
        ),
        (("dataset", "brats"), "dataset=brats: root is missing: give it as root=VALUE"),
        (("task", "metadata"), "task=metadata: column is missing: give it as column=VALUE"),
        (("pooling", "../config"), r"pooling=\.\./config: there is no such choice"),
    ],
)
def test_a_choice_that_is_not_there_names_what_is(ask: tuple[str, str], said: str) -> None:
    with pytest.raises(NeuroprintError, match=said) as caught:
        Catalog().node(*ask)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"q": 0.1}, "pooling=gem has no q. There is: p, eps, layer, components, "),
        ({"component": 3}, "pooling=gem has no component. Did you mean components\\? There is: p, eps, layer, "),
        ({"hydra": 3}, "pooling=gem has no hydra"),
        ({"p": object()}, "pooling=gem: p=<object object at .* is no plain value: give a number"),
    ],
)
def test_a_value_that_an_entry_does_not_have_names_those_it_has(values: dict[str, Any], said: str) -> None:
    with pytest.raises(NeuroprintError, match=said) as caught:
        Catalog().node("pooling", "gem", **values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "a: [1\n", "a: ${nowhere}\n", "a: ${oc.env:NOT_SET_AT_ALL}\n"])
def test_a_file_that_is_no_entry_is_named_in_one_line(more: Callable[..., Path], text: str) -> None:
    with pytest.raises(NeuroprintError) as caught:
        Catalog([more("pooling/mine.yaml", text)]).node("pooling", "mine")
    assert "\n" not in str(caught.value)
    assert "mine" in str(caught.value) or "pooling" in str(caught.value)


def test_a_part_by_name_is_built_from_its_node() -> None:
    part = Catalog().part("pooling", "gem", p=2.0)
    assert part.name == "gem"
    assert part.node == {**Catalog().node("pooling", "gem"), "p": 2.0}
    assert (part.made.func, part.made.keywords) == (poolings.gem, {"p": 2.0, "eps": 1e-6})


@pytest.mark.parametrize(
    ("group", "name"),
    [
        (group, name)
        for group in ("pooling", "projection", "probe", "inferer", "task")
        for name in Catalog().names(group)
    ],
)
def test_every_entry_can_be_built(group: str, name: str) -> None:
    part = Catalog().part(group, name, **GIVEN.get((group, name), {}))
    assert part.node is not None
    target = hydra.utils.get_object(part.node["_target_"])
    assert part.made.func is target if part.node.get("_partial_") else type(part.made) is target
    for key, value in part.node.items():
        if hasattr(part.made, key) and isinstance(value, str | int | float):
            assert getattr(part.made, key) == value


@pytest.mark.parametrize(
    ("name", "trained"),
    [
        ("swin_unetr_phantom", True),
        ("swin_unetr_phantom_decoder", True),
        ("voxels", True),
        ("untrained", False),
        ("combined", False),
        ("module_unet", False),
    ],
)
def test_an_encoder_that_needs_no_file_can_be_built(name: str, trained: bool) -> None:
    assert Catalog().part("encoder", name).made.trained == trained


@pytest.mark.parametrize("name", ["module", "precomputed", "segresnet_brats", "swin_unetr_brats21"])
def test_an_encoder_that_needs_more_says_what_is_missing(name: str) -> None:
    with pytest.raises(NeuroprintError, match=r"encoder.* is missing"):
        Catalog().part("encoder", name)


def test_a_part_by_node_is_named_after_its_target() -> None:
    node = {"_target_": "sklearn.decomposition.PCA", "n_components": "${size}"}
    config = OmegaConf.create({"size": 3, "projection": node})
    part = Catalog().part("projection", config.projection)
    assert (part.name, part.node) == ("PCA", {**node, "n_components": 3})
    assert part.made.n_components == 3
    assert Catalog().part("projection", part) is part


@pytest.mark.parametrize("choice", [poolings.gem, {"_target_": "neuroprint.embedding.poolings.gem"}])
def test_values_are_for_entries_by_name(choice: Any) -> None:
    with pytest.raises(NeuroprintError, match="pooling: p can be given with the name of an entry only"):
        Catalog().part("pooling", choice, p=2.0)


def nested(features: np.ndarray) -> np.ndarray:
    return features


@pytest.mark.parametrize(
    ("made", "name", "node"),
    [
        (poolings.mean, "mean", {"_target_": "neuroprint.embedding.poolings.mean", "_partial_": True}),
        (
            partial(poolings.gem, p=2.0),
            "gem",
            {"_target_": "neuroprint.embedding.poolings.gem", "_partial_": True, "p": 2.0},
        ),
        (partial(poolings.gem, 3), "gem", None),  # what is bound by position has no key
        (lambda features: features, "<lambda>", None),
        (PCA(3), "PCA", None),
    ],
)
def test_an_object_says_how_it_is_made_where_it_can(made: Any, name: str, node: Any) -> None:
    part = Catalog().part("pooling", made)
    assert (part.name, part.node) == (name, node) == (name_of(made), node_of(made))
    assert part.made is made


def test_a_part_from_its_own_node_is_the_same_part() -> None:
    made = partial(poolings.quantile, q=[0.5])
    again = Catalog().part("pooling", node_of(made)).made
    assert (again.func, again.keywords) == (made.func, made.keywords)
    assert Part("a", None, made) != Part("a", None, made)  # objects are told apart by what they are, not by their names


def test_a_suggestion_is_made_only_where_something_is_close() -> None:
    assert suggestion("gme", ["gem", "mean"]) == "Did you mean gem? There is: gem, mean"
    assert suggestion("xyz", ["gem", "mean"]) == "There is: gem, mean"
