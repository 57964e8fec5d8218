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

from neuroprint.build import build
from neuroprint.config import CONF, TrackingConfig, check_device, check_missing, resolve_device
from neuroprint.embedding.store import digest
from neuroprint.encoders.checkpoints import save_weights
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from neuroprint.encoders.swin_unetr import SwinUNETREncoder
    from neuroprint.tracking.store import TrackingStore
    from neuroprint.training.sources import Source
    from neuroprint.training.trainer import TrainSettings

log = logging.getLogger(__name__)

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

    from neuroprint.complaints import explain

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
    from neuroprint.tracking.store import TrackingStore

    config = compose(overrides)
    check_missing(config)
    check_device(config.device)
    encoder, source, settings = _parts(config)
    store = TrackingStore(Path(config.tracking.root), config.tracking.experiment)
    description = _description(encoder, source, settings)
    identity = digest(description)
    try:
        with store.lock(identity).acquire(blocking=False):
            return _train(config, encoder, source, settings, store, identity)
    except Timeout:
        raise NeuroprintError("this very training is going on in another process") from None


def _parts(config: DictConfig) -> tuple[SwinUNETREncoder, Source, TrainSettings]:
    encoder = build("encoder", config.encoder)
    if not hasattr(encoder, "architecture"):
        raise NeuroprintError(
            "encoder: only a SwinUNETR can be trained, such as untrained, or one that is trained already"
        )
    return (
        encoder,
        build("learn_from", config.learn_from, _partial_=True)(spec=encoder.input),
        build("recipe", config.recipe),
    )


def _description(encoder: SwinUNETREncoder, source: Source, settings: TrainSettings) -> dict[str, Any]:
    """All that the weights of every step depend on; what bears on speed or on when to stop is left out."""
    left_out = ("workers", "checkpoint_every", "stop")
    recipe = {key: value for key, value in asdict(settings).items() if key not in left_out}
    return {
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

    from neuroprint.training.trainer import fit

    out = Path(config.out)
    if finished := store.finished(identity):
        log.info("already trained (run %s)", finished.info.run_id)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(store.artifact(finished, _WEIGHTS), out)
        return out
    checkpoint = Path(config.cache) / f"{identity[:24]}.pt"
    run_id = _open_run(store, identity, encoder, config)
    network = encoder.network("cpu").requires_grad_(True)
    with (
        store.running(run_id),
        logging_redirect_tqdm(),
        tqdm(total=settings.last, desc="training", unit="step", dynamic_ncols=True) as bar,
    ):

        def show(step: int, loss: float) -> None:
            bar.update(step - bar.n)
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)

        def keep(metrics: Mapping[str, float], step: int) -> None:
            store.log(run_id, metrics, step=step)
            log.info("step %d: %s", step, ", ".join(f"{name} {value:.3g}" for name, value in metrics.items()))

        fit(network, source, settings, checkpoint, resolve_device(config.device), keep, show)
        sha256 = save_weights(out, network.state_dict(), {"identity": identity, "steps": str(settings.last)})
        with tempfile.TemporaryDirectory() as folder:
            shutil.copyfile(out, Path(folder) / _WEIGHTS)
            store.log_folder(run_id, Path(folder))
        store.log(run_id, tags={"weights_sha256": sha256})
    if settings.last < settings.steps:
        store.end(run_id, "KILLED")  # not finished: without recipe.stop it goes on
    log.info("weights in %s, SHA-256 %s", out, sha256)
    return out


def _open_run(store: TrackingStore, identity: str, encoder: SwinUNETREncoder, config: DictConfig) -> str:
    """The MLflow run of this training: a broken-off one is taken up again."""
    store.bury(identity)
    if earlier := store.search(f"tags.identity = '{identity}'", most=1):
        run_id = str(earlier[0].info.run_id)
        store.reopen(run_id)
        return run_id
    architecture = encoder.architecture
    kind = str(config.learn_from._target_).rpartition(".")[2].removesuffix("Source").lower()
    name = f"SwinUNETR {architecture.feature_size} · {kind}s"
    run_id = store.create(name, {"role": "training", "identity": identity})
    chosen = {"feature_size": architecture.feature_size, "window_size": architecture.window_size}
    recipe = {key: value for key, value in config.recipe.items() if not str(key).startswith("_")}
    store.log(run_id, params={**chosen, "spacing_mm": encoder.input.spacing_mm, **recipe})
    return run_id
