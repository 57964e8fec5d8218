"""``neuroprint train``: a network is trained, logged to MLflow and written as safetensors; a broken-off training goes on."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import Timeout
from omegaconf import MISSING, DictConfig, OmegaConf

from neuroprint.catalog.instantiate import instantiate
from neuroprint.catalog.menu import CONF
from neuroprint.catalog.redaction import redact
from neuroprint.data.digests import digest
from neuroprint.embedding.extraction import resolve_device
from neuroprint.encoders.checkpoints import save_weights
from neuroprint.encoders.trained_on import header, seen_images
from neuroprint.errors import NeuroprintError
from neuroprint.experiment.configuration import TrackingConfig, check_device, check_missing
from neuroprint.experiment.session import Session

if TYPE_CHECKING:
    from mlflow.entities import Run

    from neuroprint.encoders.swin_unetr import SwinUNETREncoder
    from neuroprint.tracking.store import TrackingStore
    from neuroprint.training.examples import Source
    from neuroprint.training.trainer import TrainSettings

log = logging.getLogger(__name__)

# Raised whenever the examples or the loop give other weights than before. Trainings of version 1 do not name it.
TRAINING_VERSION = 3

_WEIGHTS = "weights.safetensors"


@dataclass
class TrainConfig:
    """Top-level keys of conf/train.yaml."""

    encoder: Any = MISSING
    learn_from: Any = MISSING
    recipe: Any = MISSING
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    out: str = MISSING
    device: str = "auto"
    cache: str = MISSING


def compose(overrides: Sequence[str]) -> DictConfig:
    """conf/train.yaml with these ``key=value`` overrides.

    Raises:
        NeuroprintError: A key, a choice or a value cannot work.
    """
    import hydra
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from neuroprint.experiment.complaints import explain

    ConfigStore.instance().store(name="train_schema", node=TrainConfig)
    try:
        with hydra.initialize_config_dir(str(CONF.resolve()), version_base="1.3"):
            config: DictConfig = hydra.compose("train", overrides=list(overrides))
            OmegaConf.resolve(config)
    except (HydraException, OmegaConfBaseException) as error:
        raise NeuroprintError(explain(error)) from error
    return config


def train(overrides: Sequence[str]) -> Path:
    """Train as the overrides say, or go on where the same training was broken off.

    Args:
        overrides: ``key=value``, as on the command line.

    Returns:
        The weights: a safetensors file.

    Raises:
        NeuroprintError: The configuration cannot work, or training diverged.
    """
    config = compose(overrides)
    check_missing(config)
    check_device(config.device)
    encoder, source, settings = _parts(config)
    store = Session().tracking(config)
    description = _description(encoder, source, settings)
    identity = digest(description)
    try:
        with store.lock(identity).acquire(blocking=False):
            return _train(config, encoder, source, settings, store, identity)
    except Timeout:
        raise NeuroprintError("this very training is going on in another process") from None


def _parts(config: DictConfig) -> tuple[SwinUNETREncoder, Source, TrainSettings]:
    encoder = instantiate(config.encoder, "encoder")
    if not hasattr(encoder, "architecture"):
        raise NeuroprintError(
            "encoder: only a SwinUNETR can be trained, such as untrained, or one that is trained already"
        )
    return (
        encoder,
        instantiate(config.learn_from, "learn_from", spec=encoder.input),
        instantiate(config.recipe, "recipe"),
    )


def _description(encoder: SwinUNETREncoder, source: Source, settings: TrainSettings) -> dict[str, Any]:
    """All that the weights of every step depend on; what bears on speed or on when to stop is left out."""
    left_out = ("workers", "checkpoint_every", "stop")
    recipe = {key: value for key, value in asdict(settings).items() if key not in left_out}
    return {
        **({"version": TRAINING_VERSION} if TRAINING_VERSION > 1 else {}),
        "network": encoder.identity,
        "input": asdict(encoder.input),
        "examples": source.identity,
        "recipe": recipe,
    }


def _train(
    config: DictConfig,
    encoder: SwinUNETREncoder,
    source: Source,
    settings: TrainSettings,
    store: TrackingStore,
    identity: str,
) -> Path:
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from neuroprint.training.trainer import train_network

    out = Path(config.out)
    if (finished := store.settled(identity)) and _copy_weights(store, finished, out):
        return out
    checkpoint = Path(config.cache) / f"{identity[:24]}.pt"
    run_id = _open_run(store, identity, encoder, config)
    network = encoder.network("cpu").requires_grad_(True)
    logged = _last_logged(store, run_id)
    with (
        # Without recipe.stop a training that was stopped by it goes on.
        store.running(run_id, whole=settings.last == settings.steps),
        logging_redirect_tqdm(),
        tqdm(total=settings.last, desc="training", unit="step", dynamic_ncols=True) as bar,
    ):

        def show(step: int, loss: float) -> None:
            bar.update(step - bar.n)
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)

        def keep(metrics: Mapping[str, float], step: int) -> None:
            if step > logged:
                store.log(run_id, metrics, step=step)
            log.info("step %d: %s", step, ", ".join(f"{name} {value:.3g}" for name, value in metrics.items()))

        train_network(network, source, settings, checkpoint, resolve_device(config.device), keep, show)
        marks = header(source.learned_from | seen_images(encoder))
        written = {
            "identity": identity,
            "training_version": str(TRAINING_VERSION),
            "steps": str(settings.last),
            **marks,
        }
        sha256 = save_weights(out, network.state_dict(), written)
        with tempfile.TemporaryDirectory() as folder:
            shutil.copyfile(out, Path(folder) / _WEIGHTS)
            store.log_folder(run_id, Path(folder))
        store.log(run_id, tags={"weights_sha256": sha256})
    log.info("weights in %s, SHA-256 %s", out, sha256)
    return out


def _copy_weights(store: TrackingStore, finished: Run, out: Path) -> bool:
    """Whether the weights of a finished training are still there, and now in ``out`` too."""
    try:
        weights = store.artifact(finished, _WEIGHTS)
    except NeuroprintError:
        log.warning("run %s has lost its weights: going on from the checkpoint", finished.info.run_id)
        return False
    log.info("already trained (run %s)", finished.info.run_id)
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights, out)
    return True


def _last_logged(store: TrackingStore, run_id: str) -> int:
    """The last step whose metrics a run has; 0 for a new one."""
    return max((point.step for point in store.client.get_metric_history(run_id, "train/loss")), default=0)


def _open_run(store: TrackingStore, identity: str, encoder: SwinUNETREncoder, config: DictConfig) -> str:
    """The MLflow run of this training: a broken-off one is taken up again."""
    if earlier := store.search(f"tags.identity = '{identity}'", most=1):
        run_id = str(earlier[0].info.run_id)
        store.reopen(run_id)
        return run_id
    architecture = encoder.architecture
    kind = str(config.learn_from._target_).rpartition(".")[2].removesuffix("Source").lower()
    name = f"SwinUNETR {architecture.feature_size} · {kind}s"
    run_id = store.create(name, {"role": "training", "identity": identity})
    store.log(run_id, params=_parameters(encoder, config))
    with tempfile.TemporaryDirectory() as folder:
        resolved = redact(OmegaConf.to_container(config, resolve=True, enum_to_str=True))
        (Path(folder) / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(resolved)), encoding="utf-8")
        store.log_folder(run_id, Path(folder))
    return run_id


def _parameters(encoder: SwinUNETREncoder, config: DictConfig) -> dict[str, Any]:
    """What MLflow shows beside the artifact config.yaml, which has everything: the network, the data and the recipe."""
    architecture, weights = encoder.architecture, getattr(encoder, "weights", None)
    return {
        "feature_size": architecture.feature_size,
        "window_size": architecture.window_size,
        "spacing_mm": encoder.input.spacing_mm,
        "weights_sha256": weights.sha256[:8] if weights else "random",
        **_plain_values(config.learn_from),
        **_plain_values(config.recipe),
    }


def _plain_values(node: DictConfig) -> dict[str, Any]:
    found = {key: value for key, value in node.items() if not OmegaConf.is_dict(value)}
    shown: dict[str, Any] = redact({str(k): v for k, v in found.items() if str(k) != "cache" and str(k)[0] != "_"})
    return shown
