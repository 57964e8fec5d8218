"""Everything on the menu in conf/ composes, builds, and keeps what a job promises."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from neuroprint.catalog.build import build
from neuroprint.experiment.job import Job
from omegaconf import OmegaConf

from neuroprint.catalog.menu import pooling_name
from neuroprint.errors import NeuroprintError
from neuroprint.experiment import configuration as settings

# conf/learn_from belongs to neuroprint train.
GROUPS = {folder.name: folder for folder in settings.CONF.iterdir() if folder.is_dir() and folder.name != "learn_from"}
ENTRIES = [(group, file.stem) for group, folder in sorted(GROUPS.items()) for file in sorted(folder.glob("*.yaml"))]
NEEDED = {
    ("dataset", "brats"): ["dataset.root=somewhere"],
    ("dataset", "msd"): ["dataset.root=somewhere"],
    ("dataset", "manifest"): ["dataset.root=somewhere"],
    ("retrieval", "metadata"): ["retrieval.column=grade"],
    ("encoder", "swin_unetr_brats21"): ["encoder.weights=FOLDER/models/model.pt"],
    ("encoder", "segresnet_brats"): ["encoder.bundle=FOLDER"],
    ("encoder", "module"): [
        "encoder.network={_target_:monai.networks.nets.BasicUNet,in_channels:4,features:[4,4,4,4,4,4]}",
        "encoder.levels=[conv_0,down_1]",
    ],
}


def job(*overrides):
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        config = compose("config", overrides=list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        return Job.from_config(config, dict(config.hydra.runtime.choices), overrides)


@pytest.mark.parametrize(("group", "entry"), ENTRIES)
def test_every_entry_of_every_group_composes_and_builds(group, entry, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model.pt").touch()
    needed = [override.replace("FOLDER", str(tmp_path)) for override in NEEDED.get((group, entry), [])]
    built = job(f"{group}={entry}", *needed)
    if group in built.parameters:
        assert built.parameters[group] == entry


def test_every_group_of_the_contract_is_there():
    groups = {"dataset", "encoder", "inferer", "pooling", "projection", "probe", "retrieval", "target", "tracking"}
    assert set(GROUPS) == groups | {"experiment"}


@pytest.mark.parametrize("wrong", ["pooling._target_=mean", "pooling._partial_=false", "pooling.p='3'"])
def test_a_pooling_like_the_menus_is_tried_out_unless_it_is_the_menus(wrong):
    job("pooling=gem")
    with pytest.raises(NeuroprintError, match="pooling"):
        job("pooling=gem", wrong)


@pytest.mark.parametrize("layer", ["4", "stage4", "null", "[4]", "[stage4]"])
def test_a_level_has_one_name_however_it_is_given(layer):
    assert job(f"layer={layer}").parameters["layer"] == "stage4"


def test_encoder10_is_a_level_that_has_to_be_asked_for():
    assert job().levels == ("stage4",)
    assert job("layer=5").levels == job("layer=encoder10").levels == ("encoder10",)


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        ("swin_unetr_brats21", "encoder.weights is missing.*BRATS21"),
        ("segresnet_brats", "encoder.bundle is missing.*monai.bundle download"),
        ("module", "encoder.network is missing"),
    ],
)
def test_an_encoder_that_needs_a_file_or_a_network_says_so_at_once(encoder, said):
    with pytest.raises(NeuroprintError, match=said):
        job(f"encoder={encoder}")


def test_a_combination_says_what_it_was_combined_of():
    built = job("encoder=combined", "+encoder@encoder.encoders.c=module_unet", "layer=[stage3,down_2]")
    assert built.parameters["encoders"] == "untrained+voxels+module_unet"
    assert [view.levels for view in built.views] == [("stage3",), ("voxels",), ("down_2",)]
    assert built.layer == "stage3+voxels+down_2"
    assert built.name.startswith("untrained")


def test_voxels_never_go_through_windows():
    own, voxels = job("encoder=combined", "inferer=sliding").requests(_Cohort.modalities)
    assert own.extractor.inferer.identity["inferer"] == "sliding"
    assert voxels.extractor.inferer.identity == {"inferer": "whole"}


def test_folders_of_weights_stay_on_this_machine(tmp_path):
    (tmp_path / "model.pt").touch()
    built = job("encoder=swin_unetr_brats21", f"encoder.weights={tmp_path}/model.pt")
    config = OmegaConf.masked_copy(built.config, [key for key in built.config if key != "hydra"])
    text = replace(built, config=config).public_config()
    assert "weights: model.pt" in text and str(tmp_path) not in text


@pytest.mark.parametrize(
    "override",
    [
        "projection.file=/home/JaneDoe/a.pt",
        "pooling.file=https://host/JaneDoe/a.pt?signature=secret",
        "encoder.more=[/home/JaneDoe/a.pt]",
    ],
)
def test_of_any_path_or_address_only_the_last_part_leaves_this_machine(override):
    built = job("encoder=untrained")
    swept = replace(built, overrides=(override,), varied=frozenset({override.partition("=")[0]}))
    config = OmegaConf.create({"anything": {"at all": [override.partition("=")[2]]}})
    for text in (swept.name, str(swept.parameters), replace(built, config=config).public_config()):
        assert "a.pt" in text and "JaneDoe" not in text and "secret" not in text


def test_of_weights_the_name_says_which_they_are_and_not_where_they_lie(tmp_path):
    names = []
    for content in (b"one", b"other"):
        folder = tmp_path / content.decode()
        folder.mkdir()
        (folder / "model.pt").write_bytes(content)
        built = job("encoder=swin_unetr_brats21", f"encoder.weights={folder}/model.pt")
        sha256 = hashlib.sha256(content).hexdigest()[:8]
        assert built.parameters["weights_sha256"] == sha256
        assert sha256 in built.name and "model.pt" not in built.name and str(tmp_path) not in built.name
        names.append(built.name)
    assert names[0] != names[1]
    assert "weights_sha256" not in job("encoder=untrained").parameters


def test_the_twins_configuration_builds_the_twin(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"one")
    built = job("encoder=swin_unetr_brats21", f"encoder.weights={tmp_path}/model.pt")
    twin = build("encoder", built.untrained.config.encoder)
    assert twin.identity == built.untrained.encoder.identity and not twin.trained
    assert "untrained_twin" in built.untrained.public_config()
    assert "untrained_twin" not in built.public_config()
    assert "weights_sha256" not in built.untrained.parameters


def test_a_runs_target_can_be_seen():
    shown = job("target.units=voxel", "target.weighting=label", "target.frame=brain", "perplexity=7").parameters
    assert (shown["units"], shown["weighting"], shown["frame"], shown["perplexity"]) == ("voxel", "label", "brain", 7)
    assert "perplexity" not in job().parameters
    assert "perplexity" not in job("perplexity=7", "map=pca").parameters


def test_components_are_no_more_than_the_projection_can_have():
    large, most, less = (job("projection=lda", f"components={n}") for n in (32, 7, 3))
    assert large.identity(_Cohort()) == most.identity(_Cohort()) != less.identity(_Cohort())
    assert large.name == most.name and "lda7" in large.name and "lda3" in less.name
    assert job("projection=nca", "components=32").components == 32


def test_several_levels_keep_their_order():
    assert job("layer=[3,1]").levels == ("stage3", "stage1")


def test_components_count_only_where_the_projection_has_a_size():
    assert job("components=2").components is None
    assert "components" not in job("components=2").parameters
    assert job("projection=pca", "components=2").parameters["components"] == 2


def test_the_menus_poolings_are_computed_together():
    assert {"mean", "max"} <= set(job("pooling=max").poolings)


def test_untrained_weights_are_named_first():
    assert job("encoder=untrained").name.startswith("untrained · stage4 · mean")
    assert "untrained" not in job("encoder=voxels").name and "untrained" not in job().name


def test_a_poolings_name_holds_its_parameters_in_order():
    node = OmegaConf.create({"_target_": "neuroprint.embedding.poolings.gem", "_partial_": True, "q": 1, "p": 3.0})
    assert pooling_name(node) == "gem(p=3, q=1)"
    node.p = 3
    assert pooling_name(node) == "gem(p=3, q=1)"
    assert pooling_name(OmegaConf.create({"_target_": "elsewhere.pool"})) == "elsewhere.pool"


def test_a_class_that_is_not_there_is_one_line():
    with pytest.raises(NeuroprintError, match=r"^pooling: neuroprint\.embedding\.poolings\.nothing"):
        job("pooling._target_=neuroprint.embedding.poolings.nothing")


class _Cohort:
    """As much of a cohort as an identity needs."""

    fingerprint = "abc"
    modalities = ("flair", "t1", "t1ce", "t2")

    def holdout_share(self, holdout):
        return 0.2 if holdout == "auto" else holdout

    def frame(self, choice):
        return "world" if choice == "auto" else choice


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("layer=4", "layer=stage4"),
        ("components=2", "components=16"),
        ("device=auto", "device=cpu"),
        ("holdout=auto", "holdout=0.2"),
        ("figures=true", "figures=false"),
        ("target.frame=auto", "target.frame=world"),
        ("store.root=a", "store.root=b"),
        ("pooling=mean", "resume=false"),
    ],
)
def test_what_makes_no_difference_does_not_change_the_identity(one, other):
    assert job(one).identity(_Cohort()) == job(other).identity(_Cohort())


@pytest.mark.parametrize(
    "change",
    [
        *("layer=3", "pooling=max", "projection=pca", "seed=1", "folds=4", "holdout=0.3", "map=pca", "precision=bf16"),
        *("retrieval.similarity=dot", "retrieval.radius_mm=25", "retrieval=side", "target.region=tumor_core"),
        *("target.weighting=label", "target.frame=brain", "encoder.spacing_mm=2", "inferer=sliding", "encoder=voxels"),
        *("target.units=voxel", "perplexity=50", "inferer=windows", "projection=tsne", "repeats=1"),
        *("encoder.layer_norm=false", "encoder.crop=image", "encoder=combined"),
    ],
)
def test_what_makes_a_difference_changes_the_identity(change):
    changed = job(change, *(["layer=voxels"] if change == "encoder=voxels" else []))
    assert changed.identity(_Cohort()) != job().identity(_Cohort())


def test_help_shows_every_choice_and_every_value():
    from neuroprint.cli.help import help_text

    shown = help_text()
    for group, entry in ENTRIES:
        assert group in shown and entry in shown
    for key in ("layer", "components", "map", "folds", "holdout", "seed", "device", "precision", "figures", "resume"):
        assert f"  {key}:" in shown
    assert "encoder     swin_unetr_phantom" in shown


@pytest.mark.parametrize(("projection", "supervised"), [("none", False), ("pca", False), ("pls", True), ("lda", True)])
def test_a_supervised_projection_says_so(projection, supervised):
    built = job(f"projection={projection}")
    assert ("supervised" in built.parameters) is supervised
    assert ("supervised" in built.name) is supervised


def test_a_map_that_cannot_place_a_new_case_is_not_exportable():
    assert job("projection=pca").exportable and not job("projection=tsne").exportable
    assert "not exportable" in job("projection=tsne").name


def test_a_key_added_on_the_command_line_and_swept_is_named_with_its_value():
    from neuroprint.experiment.sweep import _varied

    assert _varied([["+probe.alphas=[1]", "seed=0"], ["+probe.alphas=[2]", "seed=0"]]) == ["probe.alphas"]
