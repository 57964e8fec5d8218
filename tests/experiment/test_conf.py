"""Everything on the menu in conf/ composes, builds, and keeps what an experiment promises."""

from __future__ import annotations

import hashlib
import re
import shlex
from dataclasses import replace

import pytest
from omegaconf import OmegaConf

from neuroprint.catalog.instantiate import instantiate, plain
from neuroprint.catalog.menu import CONF
from neuroprint.data.case import Case
from neuroprint.data.cohort import Cohort
from neuroprint.errors import NeuroprintError

# conf/learn_from belongs to neuroprint train.
GROUPS = {folder.name: folder for folder in CONF.iterdir() if folder.is_dir() and folder.name != "learn_from"}
ENTRIES = [(group, file.stem) for group, folder in sorted(GROUPS.items()) for file in sorted(folder.glob("*.yaml"))]
PLAN = "{network:PlainConvUNet,arguments:{n_stages:2,features_per_stage:[4,4],strides:[1,2]},channels:1,names:[t1]}"
NEEDED = {
    ("dataset", "brats"): ["dataset.root=somewhere"],
    ("dataset", "msd"): ["dataset.root=somewhere"],
    ("dataset", "manifest"): ["dataset.root=somewhere"],
    ("dataset", "bids"): ["dataset.root=somewhere"],
    ("dataset", "upenn_gbm"): ["dataset.root=somewhere"],
    ("dataset", "ucsf_pdgm"): ["dataset.root=somewhere"],
    ("dataset", "lumiere"): ["dataset.root=somewhere"],
    ("dataset", "brats_men_rt"): ["dataset.root=somewhere"],
    ("dataset", "kaggle"): ["dataset.root=somewhere"],
    ("dataset", "pattern"): ["dataset.root=somewhere", "dataset.images={t1: '{case}/t1.nii*', t2: '{case}/t2.nii*'}"],
    ("task", "metadata"): ["task.column=grade"],
    ("task", "survival"): ["task.time=survival_days", "task.event=event"],
    ("encoder", "precomputed"): ["encoder.path=FOLDER/models/model.pt"],
    ("encoder", "swin_unetr_brats21"): ["encoder.weights=FOLDER/models/model.pt"],
    ("encoder", "segresnet_brats"): ["encoder.monai_bundle=FOLDER"],
    ("encoder", "openmind_resenc"): ["encoder.weights=FOLDER/models/model.pt"],
    ("encoder", "brainiac"): ["encoder.weights=FOLDER/models/model.pt"],
    ("encoder", "brainsegfounder"): ["encoder.weights=FOLDER/models/model.pt"],
    ("encoder", "medicalnet"): ["encoder.weights=FOLDER/models/model.pt"],
    ("encoder", "nnunet"): ["encoder.weights=FOLDER/models/model.pt", f"encoder.plan={PLAN}"],
    ("encoder", "module"): [
        "encoder.network={_target_:monai.networks.nets.BasicUNet,in_channels:4,features:[4,4,4,4,4,4]}",
        "encoder.levels=[conv_0,down_1]",
    ],
}
MODALITIES = ("flair", "t1", "t1ce", "t2")


class Made(Cohort):
    """A cohort whose files need not be there."""

    digest = "abc"
    modalities = MODALITIES


COHORT = Made("made", tuple(Case(f"case {n:02d}", f"patient {n:02d}", {}) for n in range(60)))


@pytest.mark.parametrize(("group", "entry"), ENTRIES)
def test_every_entry_of_every_group_composes_and_builds(group, entry, tmp_path, make_experiment):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model.pt").touch()
    needed = [override.replace("FOLDER", str(tmp_path)) for override in NEEDED.get((group, entry), [])]
    built = make_experiment(f"{group}={entry}", *needed)
    if group in built.parameters:
        assert built.parameters[group] == entry


def test_every_group_of_the_contract_is_there():
    groups = {"dataset", "encoder", "inferer", "pooling", "projection", "probe", "task", "perturb", "tracking"}
    assert set(GROUPS) == groups | {"experiment", "question"}


def test_tasks_have_the_same_keys_so_that_a_sweep_over_tasks_can_set_any_of_them(make_experiment):
    entries = {entry: OmegaConf.load(GROUPS["task"] / f"{entry}.yaml") for group, entry in ENTRIES if group == "task"}
    assert len({frozenset(map(str, entry)) for entry in entries.values()}) == 1
    for name in entries:
        keys = ("radius_mm=12", "region=tumor_core", "weighting=label", "frame=brain", "min_dice=0.4", "column=grade")
        keys += ("ratio=2", "within=0.2", "by=hemisphere", "time=survival_days", "event=event", "kind=classes")
        keys += ("across=site", "confound=true")
        assert make_experiment(f"task={name}", *(f"task.{key}" for key in keys)).task.name == name


@pytest.mark.parametrize("wrong", ["pooling._target_=mean", "pooling._partial_=false", "pooling.p='3'"])
def test_a_pooling_like_the_menus_is_tried_out_unless_it_is_the_menus(wrong, make_experiment):
    make_experiment("pooling=gem")
    with pytest.raises(NeuroprintError, match="pooling"):
        make_experiment("pooling=gem", wrong)


@pytest.mark.parametrize("layer", ["4", "stage4", "null", "[4]", "[stage4]"])
def test_a_level_has_one_name_however_it_is_given(layer, make_experiment):
    assert make_experiment(f"layer={layer}").parameters["layer"] == "stage4"


def test_encoder10_is_a_level_that_has_to_be_asked_for(make_experiment):
    assert make_experiment().recipe.layer == "stage4"
    asked = [make_experiment(f"layer={layer}").recipe.layer for layer in ("5", "encoder10")]
    assert asked == ["encoder10", "encoder10"]


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        ("swin_unetr_brats21", "encoder.weights is missing.*BRATS21"),
        ("segresnet_brats", "encoder.monai_bundle is missing.*monai.bundle download"),
        ("module", "encoder.network is missing"),
        ("precomputed", "encoder.path is missing: give it on the command line as encoder.path=VALUE"),
    ],
)
def test_an_encoder_that_needs_a_file_or_a_network_says_so_at_once(encoder, said, make_experiment):
    with pytest.raises(NeuroprintError, match=said):
        make_experiment(f"encoder={encoder}")


def test_a_combination_says_what_it_was_combined_of(make_experiment):
    built = make_experiment("encoder=combined", "+encoder@encoder.encoders.c=module_unet", "layer=[stage3,down_2]")
    assert built.parameters["encoders"] == "untrained+voxels+module_unet"
    assert [names for _, names in built.recipe.levels] == [("stage3",), ("voxels",), ("down_2",)]
    assert built.recipe.layer == built.parameters["layer"] == "stage3+voxels+down_2"
    assert built.name.startswith("untrained")


def test_voxels_never_go_through_windows(make_experiment):
    own, voxels = make_experiment("encoder=combined", "inferer=sliding").recipe.requests(MODALITIES)
    assert own.extractor.inferer.identity["inferer"] == "sliding"
    assert voxels.extractor.inferer.identity == {"inferer": "whole"}


def test_embeddings_are_compared_as_asked_else_as_they_are_made_for(make_experiment):
    compared = {
        choices: make_experiment(*choices).parameters["similarity"]
        for choices in ((), ("encoder=voxels",), ("similarity=dot",), ("encoder=voxels", "similarity=cosine"))
    }
    assert list(compared.values()) == ["cosine", "euclidean", "dot", "cosine"]


# What leaves this machine


def test_folders_of_weights_stay_on_this_machine(tmp_path, make_experiment):
    (tmp_path / "model.pt").touch()
    text = make_experiment("encoder=swin_unetr_brats21", f"encoder.weights={tmp_path}/model.pt").public_config()
    assert "weights: model.pt" in text and str(tmp_path) not in text


@pytest.mark.parametrize(
    "override",
    [
        "projection.file=/home/JaneDoe/a.pt",
        "pooling.file=https://host/JaneDoe/a.pt?signature=secret",
        "encoder.more=[/home/JaneDoe/a.pt]",
    ],
)
def test_of_any_path_or_address_only_the_last_part_leaves_this_machine(override, make_experiment):
    built = make_experiment("encoder=untrained")
    swept = replace(built, overrides=(override,), varied=frozenset({override.partition("=")[0]}))
    config = OmegaConf.create({"anything": {"at all": [override.partition("=")[2]]}})
    for text in (swept.name, str(swept.parameters), replace(built, config=config).public_config()):
        assert "a.pt" in text and "JaneDoe" not in text and "secret" not in text


def test_of_weights_the_name_says_which_they_are_and_not_where_they_lie(tmp_path, make_experiment):
    names = []
    for content in (b"one", b"other"):
        folder = tmp_path / content.decode()
        folder.mkdir()
        (folder / "model.pt").write_bytes(content)
        built = make_experiment("encoder=swin_unetr_brats21", f"encoder.weights={folder}/model.pt")
        sha256 = hashlib.sha256(content).hexdigest()[:8]
        assert built.parameters["weights_sha256"] == sha256
        assert sha256 in built.name and "model.pt" not in built.name and str(tmp_path) not in built.name
        names.append(built.name)
    assert names[0] != names[1]
    assert "weights_sha256" not in make_experiment("encoder=untrained").parameters


# Names and parameters


def test_the_twins_configuration_builds_the_twin(tmp_path, make_experiment):
    (tmp_path / "model.pt").write_bytes(b"one")
    built = make_experiment("encoder=swin_unetr_brats21", f"encoder.weights={tmp_path}/model.pt")
    twin = built.untrained
    again = instantiate(twin.config.encoder, "encoder")
    assert again.identity == twin.recipe.encoder.made.identity and not again.trained
    assert "untrained_twin" in twin.public_config()
    assert "untrained_twin" not in built.public_config()
    assert "weights_sha256" not in twin.parameters
    assert built.untrained_identity(COHORT) not in (None, built.identity(COHORT), twin.identity(COHORT))


def test_what_is_not_trained_has_no_twin(make_experiment):
    for encoder in ("untrained", "voxels"):
        built = make_experiment(f"encoder={encoder}")
        assert built.untrained is None and built.untrained_identity(COHORT) is None


def test_a_runs_task_can_be_seen(make_experiment):
    shown = make_experiment("task.radius_mm=15", "task.weighting=label", "task.frame=brain").parameters
    assert (shown["task"], shown["radius_mm"], shown["weighting"], shown["frame"]) == (
        *("tumor_position", 15, "label", "brain"),
    )
    shown = make_experiment("task=metadata", "task.column=grade").parameters
    assert (shown["task"], shown["column"]) == ("metadata", "grade") and "radius_mm" not in shown


def test_perplexity_is_a_parameter_where_the_projection_has_one(make_experiment):
    assert make_experiment("perplexity=7", "projection=tsne").parameters["perplexity"] == 7
    assert "perplexity" not in make_experiment("projection=tsne").parameters
    assert "perplexity" not in make_experiment("perplexity=7").parameters, "the map is no part of what is scored"


def test_components_are_no_more_than_the_projection_can_have(make_experiment):
    large, most, less = (make_experiment("projection=lda", f"components={n}") for n in (32, 7, 3))
    assert large.identity(COHORT) == most.identity(COHORT) != less.identity(COHORT)
    assert large.name == most.name and "lda7" in large.name and "lda3" in less.name
    assert make_experiment("projection=nca", "components=32").components == 32


def test_components_count_only_where_the_projection_has_a_size(make_experiment):
    assert make_experiment("components=2").components is None
    assert "components" not in make_experiment("components=2").parameters
    assert make_experiment("projection=pca", "components=2").parameters["components"] == 2


def test_the_menus_poolings_are_computed_together(make_experiment):
    assert len(make_experiment("pooling=max").recipe.poolings) == sum(group == "pooling" for group, _ in ENTRIES)
    assert "gem(eps=1e-06, p=7)" in make_experiment("pooling=gem", "pooling.p=7").recipe.poolings


def test_untrained_weights_are_named_first(make_experiment):
    assert make_experiment("encoder=untrained").name == "untrained · stage4 · mean"
    assert make_experiment().name == "stage4 · mean"
    assert make_experiment("encoder=voxels").name == "voxels · mean"


@pytest.mark.parametrize(("projection", "supervised"), [("none", False), ("pca", False), ("pls", True), ("lda", True)])
def test_a_supervised_projection_says_so(projection, supervised, make_experiment):
    built = make_experiment(f"projection={projection}")
    assert ("supervised" in built.parameters) is supervised
    assert ("supervised" in built.name) is supervised


def test_a_projection_that_cannot_place_a_new_case_is_not_exportable(make_experiment):
    pca, tsne = make_experiment("projection=pca"), make_experiment("projection=tsne")
    assert pca.exportable and not tsne.exportable
    assert "not exportable" in tsne.name and "not exportable" not in pca.name
    assert (tsne.parameters["exportable"], tsne.parameters["transductive"]) == (False, True)


def test_vectors_from_a_file_are_not_exportable_but_can_be_ranked(tmp_path, make_experiment):
    (tmp_path / "mine.parquet").touch()
    built = make_experiment("encoder=precomputed", f"encoder.path={tmp_path}/mine.parquet")
    assert not built.exportable and built.name == "precomputed · mine"
    assert (built.parameters["exportable"], built.parameters["transductive"]) == (False, False)


def test_a_class_that_is_not_there_is_one_line(make_experiment):
    with pytest.raises(NeuroprintError, match=r"^pooling: neuroprint\.embedding\.poolings\.nothing") as caught:
        make_experiment("pooling._target_=neuroprint.embedding.poolings.nothing")
    assert "\n" not in str(caught.value)


# Identities: what need not be scored again


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("layer=4", "layer=stage4"),
        ("components=2", "components=16"),
        ("device=auto", "device=cpu"),
        ("holdout=auto", "holdout=0.2"),
        ("figures=true", "figures=false"),
        ("map=tsne", "map=pca"),
        ("perplexity=null", "perplexity=50"),
        ("similarity=null", "similarity=cosine"),
        ("task.radius_mm=20", "task.radius_mm=20.0"),
        ("task.frame=auto", "task.frame=world"),
        ("task.column=null", "task.column=grade"),
        ("task.ratio=1.5", "task.ratio=2"),
        ("task.time=null", "task.time=survival_days"),
        ("store.root=a", "store.root=b"),
        ("dataset.root=a", "dataset.root=b"),
        ("pooling=mean", "resume=false"),
    ],
)
def test_what_makes_no_difference_does_not_change_the_identity(one, other, make_experiment):
    assert make_experiment(one).identity(COHORT) == make_experiment(other).identity(COHORT)


CHANGES = (
    *("layer=3", "pooling=max", "projection=pca", "seed=1", "folds=4", "holdout=0.3", "precision=bf16"),
    *("similarity=dot", "task.radius_mm=25", "task=side", "task=overlap", "task.region=tumor_core"),
    *("task=volume", "task=composition", "task=region"),
    *("task.weighting=label", "task.frame=brain", "encoder.spacing_mm=2", "inferer=sliding", "encoder=voxels"),
    *("inferer=windows", "projection=tsne", "probe=knn", "probe=kernel_ridge"),
    *("permutations=99", "task.across=site"),
    *("encoder.layer_norm=false", "encoder.crop=image", "encoder=combined"),
)


def test_what_makes_a_difference_changes_the_identity(make_experiment):
    identities = {change: make_experiment(change).identity(COHORT) for change in CHANGES}
    identities["nothing"] = make_experiment().identity(COHORT)
    assert len(set(identities.values())) == len(CHANGES) + 1, identities


def test_the_perplexity_of_a_projection_changes_the_identity(make_experiment):
    usual, other = (make_experiment("projection=tsne", f"perplexity={value}") for value in ("null", "5"))
    assert usual.identity(COHORT) != other.identity(COHORT)


def test_other_cohorts_are_other_runs_and_other_leaderboards(make_experiment):
    class Other(Made):
        digest = "def"

    built, other = make_experiment(), Other(COHORT.name, COHORT.cases)
    allowed = replace(COHORT, duplicates="allow")
    groups = [built.group(cohort) for cohort in (COHORT, other, allowed)]
    assert groups[0] not in groups[1:] and groups[1] != groups[2]
    assert len({built.identity(COHORT), built.identity(other)}) == 2


def test_runs_that_differ_in_what_is_chosen_have_one_leaderboard_and_in_what_is_asked_another(make_experiment):
    usual = make_experiment().group(COHORT)
    for change in ("layer=3", "pooling=max", "projection=pca", "probe=knn", "similarity=dot", "permutations=0"):
        assert make_experiment(change).group(COHORT) == usual
    for change in ("task.radius_mm=25", "task=side", "folds=4", "seed=1", "holdout=0.3", "task.across=site"):
        assert make_experiment(change).group(COHORT) != usual


def test_help_shows_every_choice_and_every_value():
    from neuroprint.cli.help import help_text

    shown = help_text()
    for group, entry in ENTRIES:
        assert group in shown and entry in shown
    values = (
        "layer",
        "components",
        "similarity",
        "map",
        "perplexity",
        "folds",
        "holdout",
        "permutations",
        "seed",
        "device",
        "precision",
    )
    for key in (*values, "figures", "resume"):
        assert f"  {key}:" in shown
    assert "encoder     swin_unetr_phantom" in shown and "task        tumor_position" in shown


def test_a_key_added_on_the_command_line_and_swept_is_named_with_its_value():
    from neuroprint.experiment.sweep import _varied

    assert _varied([["+probe.alphas=[1]", "seed=0"], ["+probe.alphas=[2]", "seed=0"]]) == ["probe.alphas"]


def commands_of(page):
    """The overrides of ``dataset`` in each command of a page."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = (line for block in blocks for line in block.replace("\\\n", " ").split("$ ") if "run.py" in line)
    return [[word for word in shlex.split(line) if word.startswith("dataset")] for line in lines]


@pytest.mark.parametrize("overrides", commands_of(CONF.parent / "docs" / "datasets.md"), ids=lambda words: words[0])
def test_the_commands_on_data_sets_compose_as_they_stand_in_the_docs(overrides, make_experiment):
    built = make_experiment(*overrides)
    assert built.parameters["dataset"] == overrides[0].partition("=")[2]


def test_labels_can_be_spelled_out_on_the_command_line(make_experiment):
    built = make_experiment("dataset=brats", "dataset.root=x", "dataset.labels={1: edema, 4: enhancing}")
    assert instantiate(plain(built.config.dataset.reader), "dataset").labels == "1=edema 4=enhancing"
    with pytest.raises(NeuroprintError, match=r"dataset\.labels=.*oedema.*: expected one of any, brats"):
        make_experiment("dataset=brats", "dataset.root=x", "dataset.labels={1: oedema}")
