"""From scans on disk to vectors, four ways, on the same scans and weights: what is not the network should cost little.

    python benchmarks/extraction.py [--encoder 48,default] [--ways article,sliding,whole,network,reading] [--data DIR]
        [--cases 5] [--repeats 3] [--device cpu] [--precision fp32] [--json FILE]

- article: the published snippet, literally: MONAI's loader, windows of 128 over the whole field of view, one level, its mean
- sliding: neuroprint with ``inferer=sliding``, all levels by all poolings, stored
- whole: neuroprint with ``inferer=whole``, the default, likewise
- network: MONAI's network alone, with fused attention, on tensors that are in memory: the floor
- reading: scans decoded, measured and prepared, one after the other, and no network

``--data`` is a folder of BraTS cases; without it, phantoms of 1 mm are made. Each way runs in a process of its own, which
says what memory it took at most; ways take turns, so that a busy machine slows all of them. Processor time is given beside
wall-clock time: it says more where other programs run. Encoders: ``48``, the size of the published network (window 7, 1 mm),
and ``default``, the network that comes with neuroprint.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroprint.cli.environment import prepare_process

if TYPE_CHECKING:
    from neuroprint import Cohort
    from neuroprint.embedding.recipe import Recipe

ORDER = ("flair", "t1ce", "t1", "t2")
WAYS = ("article", "sliding", "whole", "network", "reading")


def recipe_of(encoder: str, inferer: str, precision: str) -> Recipe:
    """As :func:`neuroprint.embed` puts it together."""
    from neuroprint.catalog.menu import Catalog
    from neuroprint.embedding.recipe import Recipe, menu_poolings

    menu = Catalog()
    network = (
        menu.part("encoder", "untrained", feature_size=48, window_size=7, spacing_mm=1.0)
        if encoder == "48"
        else menu.part("encoder", "swin_unetr_phantom")
    )
    pooling, way = menu.part("pooling", "mean"), menu.part("inferer", inferer)
    return Recipe.of(network, None, pooling, way, precision, menu=menu_poolings(menu))


def article(cohort: Cohort, recipe: Recipe, device: str) -> Iterator[None]:
    """The published snippet; a step is a case."""
    import torch
    from monai.inferers import SlidingWindowInferer
    from monai.networks.nets import SwinUNETR
    from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, NormalizeIntensityd

    encoder = recipe.encoder.made
    size, window = encoder.architecture.feature_size, encoder.architecture.window_size
    model = SwinUNETR(in_channels=4, out_channels=3, feature_size=size, window_size=window)
    model.load_state_dict(encoder.network("cpu").state_dict())
    model.eval().to(device)
    transform = Compose(
        [
            LoadImaged(keys=["image"]),
            EnsureChannelFirstd(keys=["image"], channel_dim="no_channel"),
            NormalizeIntensityd(keys=["image"], nonzero=True, channel_wise=True),
        ]
    )
    inferer = SlidingWindowInferer(roi_size=(128, 128, 128), sw_batch_size=1, overlap=0.25)
    yield
    for case in cohort.cases:
        with torch.no_grad():
            image = transform({"image": [str(case.images[name].path) for name in ORDER]})["image"].to(device)
            inferer(image, model.swinViT)[4].mean(dim=(2, 3, 4)).cpu()
        yield


def network(cohort: Cohort, recipe: Recipe, device: str) -> Iterator[None]:
    """MONAI's transformer and the convolutions of encoder10, nothing before and nothing after; a step is a case."""
    import torch

    from neuroprint.data.measure import measure
    from neuroprint.data.volume import read_volume
    from neuroprint.embedding.extractor import _precision

    extractor = recipe.requests(ORDER)[0].extractor
    model = recipe.encoder.made.network(device)
    images = []
    for case in cohort.cases:
        volume = read_volume(case, ORDER)
        prepared = extractor.prepare(volume, measure(volume, case.label_convention).brain_box)
        images.append(torch.from_numpy(prepared.image)[None].to(device))
    yield
    with torch.inference_mode(), _precision(recipe.precision, device):
        for image in images:
            model.encoder10(model.swinViT(image, model.normalize)[-1])
            if device != "cpu":
                torch.cuda.synchronize()
            yield


def reading(cohort: Cohort, recipe: Recipe, device: str) -> Iterator[None]:
    """From files to what the network would see; a step is a case."""
    from neuroprint.data.measure import measure
    from neuroprint.data.volume import read_volume

    extractor = recipe.requests(ORDER)[0].extractor
    yield
    for case in cohort.cases:
        volume = read_volume(case, ORDER)
        extractor.prepare(volume, measure(volume, case.label_convention).brain_box)
        yield


def neuroprint(cohort: Cohort, recipe: Recipe, device: str) -> Iterator[None]:
    """All that a cold run does until the vectors of all cases are stored, in one step."""
    from neuroprint.embedding.extraction import Extract
    from neuroprint.embedding.store import FeatureStore

    requests = recipe.requests(ORDER)
    assert cohort.digests  # those of files are remembered from run to run
    with tempfile.TemporaryDirectory() as folder:
        work = Extract(FeatureStore(folder), device)
        for request in requests:  # building the network is no part of a case
            work._forwards[request.extractor.kind] = request.extractor.encoder.load(device)
        yield
        found = work(cohort, requests)
        assert found.forwards == [len(cohort)]
        yield


def measure_here(way: str, encoder: str, data: Path, number: int, device: str, precision: str) -> dict[str, Any]:
    """Seconds a case of one way, in this process, and its peak of memory."""
    import neuroprint as npr

    cohort = npr.load_cohort("brats", data)
    cohort = replace(cohort, cases=cohort.cases[:number], digest_cache=None)
    recipe = recipe_of(encoder, way if way in ("sliding", "whole") else "whole", precision)
    steps: Callable[..., Iterator[None]] = {"article": article, "network": network, "reading": reading}.get(
        way, neuroprint
    )
    running = steps(cohort, recipe, device)
    next(running)  # what comes before the first case
    wall, processor = time.perf_counter(), time.process_time()
    with Utilization(device) as busy:
        for _ in running:
            pass
    result = {
        "way": way,
        "wall_s": (time.perf_counter() - wall) / len(cohort),
        "processor_s": (time.process_time() - processor) / len(cohort),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "cases": len(cohort),
    }
    if device != "cpu":
        import torch

        result |= {"gpu_peak_mb": torch.cuda.max_memory_allocated() / 1e6, "gpu_busy": busy.mean}
    return result


class Utilization:
    """Samples how busy the GPU is, in percent, while a block runs."""

    def __init__(self, device: str) -> None:
        self._done = threading.Event()
        self._found: list[float] = []
        self._thread = threading.Thread(target=self._sample, daemon=True) if device != "cpu" else None

    def __enter__(self) -> Utilization:
        if self._thread:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread:
            self._thread.join()

    def _sample(self) -> None:
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not self._done.wait(0.2):
            found = subprocess.run(command, capture_output=True, text=True, check=False)
            if found.returncode == 0:
                self._found.append(float(found.stdout.split()[0]))

    @property
    def mean(self) -> float | None:
        return statistics.mean(self._found) if self._found else None


def in_its_own_process(way: str, encoder: str, data: Path, options: argparse.Namespace) -> dict[str, Any]:
    cases = min(options.article_cases, options.cases) if way == "article" else options.cases
    command = [sys.executable, __file__, "--only", way, "--encoder", encoder, "--data", str(data)]
    command += ["--cases", str(cases), "--device", options.device, "--precision", options.precision]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def report(encoder: str, found: dict[str, list[dict[str, Any]]], device: str) -> None:
    def median(way: str, key: str) -> float:
        return float(statistics.median(one[key] for one in found[way]))

    gpu = "" if device == "cpu" else " GPU memory, MB | GPU busy, % |"
    print(f"\nencoder {encoder}, {device}; medians\n\n| way | s a case | processor s a case | peak memory, MB |{gpu}")
    print(f"| --- | --- | --- | --- |{' --- | --- |' if gpu else ''}")
    for way, results in found.items():
        more = f" {median(way, 'gpu_peak_mb'):.0f} | {results[-1]['gpu_busy']} |" if gpu else ""
        print(
            f"| {way} | {median(way, 'wall_s'):.2f} | {median(way, 'processor_s'):.2f} | {median(way, 'peak_mb'):.0f} |{more}"
        )
    for over, under in (("article", "whole"), ("whole", "network"), ("whole", "reading")):
        if over in found and under in found:
            for key, name in (("wall_s", "wall clock"), ("processor_s", "processor")):
                pairs = [a[key] / b[key] for a, b in zip(found[over], found[under], strict=False)]
                print(f"\n{over} / {under}, {name}: {statistics.median(pairs):.2f} ({len(pairs)} pairs)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="48,default")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cases", type=int, default=5)
    parser.add_argument("--article-cases", type=int, default=2, help="of which the published snippet sees these many")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "tf32", "bf16"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    prepare_process()  # as the commands do, before PyTorch is loaded
    if options.only:
        asked = (options.only, options.encoder, options.data, options.cases, options.device, options.precision)
        print(json.dumps(measure_here(*asked)))
        return
    with tempfile.TemporaryDirectory() as folder:
        data = options.data
        if data is None:
            data = Path(folder)
            making = ["phantom", str(data), "--cases", str(options.cases), "--spacing", "1"]
            subprocess.run([sys.executable, "-m", "neuroprint", *making], check=True)
        everything = {}
        for encoder in options.encoder.split(","):
            # The published snippet knows no way of reading a scan at another spacing: it has no default encoder.
            ways = [way for way in options.ways.split(",") if encoder == "48" or way != "article"]
            found: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
            for _ in range(options.repeats):
                for way in ways:
                    found[way].append(in_its_own_process(way, encoder, data, options))
            report(encoder, found, options.device)
            everything[encoder] = found
        if options.json:
            options.json.write_text(json.dumps(everything, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
