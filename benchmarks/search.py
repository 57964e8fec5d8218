"""One query among a million fingerprints: neuroprint's exact search, and a plain read of the array.

python benchmarks/search.py [--cases N] [--dimensions D] [--threads T] [--repeats R] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

BLOCK = 50_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--dimensions", type=int, default=768)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where the files go; they are removed at the end")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measure(Path(folder), options.cases, options.dimensions, options.threads, options.repeats)


def measure(folder: Path, cases: int, dimensions: int, threads: int, repeats: int) -> None:
    from sklearn.neighbors import NearestNeighbors
    from threadpoolctl import threadpool_limits

    from neuroprint.bundle.format import mapped
    from neuroprint.bundle.index import Search, lengths_of

    write(folder, cases, dimensions)
    rng = np.random.default_rng(1)
    query = rng.normal(size=dimensions).astype(np.float32)
    query /= np.linalg.norm(query)

    started = time.perf_counter()
    vectors = mapped(folder / "gallery.safetensors")["projected"]
    opened = time.perf_counter() - started

    lengths = np.concatenate([lengths_of(vectors[start : start + BLOCK]) for start in range(0, cases, BLOCK)])
    search = Search(vectors, lengths, [f"{number:09d}" for number in range(cases)], "cosine")
    rows: dict[str, Callable[[], object]] = {
        "plain read (sum of the array)": lambda: sum(
            float(vectors[start : start + BLOCK].sum()) for start in range(0, cases, BLOCK)
        ),
        "NumPy product, no ranking": lambda: vectors @ query,
        "neuroprint, exact, k = 5": lambda: search(query, 5),
    }
    gigabytes = vectors.nbytes / 1e9
    print(f"{cases} x {dimensions} float32 ({gigabytes:.2f} GB), {threads} threads, median of {repeats}, files cached")
    print(f"opened by memory map: {opened * 1e3:.1f} ms\n")
    print("| | ms a query | GB/s |")
    print("| --- | --- | --- |")
    with threadpool_limits(threads):
        for name, call in rows.items():
            call()
            seconds = statistics.median(timed(call) for _ in range(repeats))
            print(f"| {name} | {seconds * 1e3:.0f} | {gigabytes / seconds:.1f} |", flush=True)
    found = search(query, 5)[0]
    others = NearestNeighbors(n_neighbors=5, algorithm="brute", metric="cosine").fit(vectors)
    expected = others.kneighbors(query[None], return_distance=False)[0]
    print(f"\nscikit-learn finds the same five: {found == expected.tolist()}")


def write(folder: Path, cases: int, dimensions: int) -> None:
    """Unit vectors as a bundle keeps them, block by block."""
    header = {"projected": {"dtype": "F32", "shape": [cases, dimensions], "data_offsets": [0, 4 * cases * dimensions]}}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = np.random.default_rng(0)
    with (folder / "gallery.safetensors").open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for start in range(0, cases, BLOCK):
            block = rng.standard_normal((min(BLOCK, cases - start), dimensions), dtype=np.float32)
            block /= np.linalg.norm(block, axis=1, keepdims=True)
            stream.write(block.data)


def timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
