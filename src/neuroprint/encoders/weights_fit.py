"""Put weights into a network: prefixes are fitted to the network's own names, and all that does not fit is listed."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Hashable, Iterable, Mapping
from difflib import get_close_matches
from itertools import accumulate, groupby
from typing import TYPE_CHECKING

from neuroprint.encoders.checkpoints import without_recomputed
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

log = logging.getLogger(__name__)

Shape = tuple[int, ...]

# Parts of names that a file may have where the network has others: of torch.compile, and of files published for SwinUNETR.
_RENAMED = {
    "_orig_mod.": "",
    "mlp.fc1.": "mlp.linear1.",
    "mlp.fc2.": "mlp.linear2.",
    ".0.0.blocks.": ".0.blocks.",
    ".0.0.downsample.": ".0.downsample.",
}
_AVERAGED = re.compile(r"(^|[._])(ema|averaged?|momentum|shadow|target)([._]|$)")
_SHOWN = 3


def load_strictly(
    network: Module, state_dict: Mapping[str, Tensor], source: str, used: Collection[str] | None = None
) -> None:
    """Put weights into a network; whatever the network needs must be there, and fit.

    The file's names may have a prefix that the network's have not (``module.``, ``model._orig_mod.``), or lack one
    (``stem.weight`` for ``encoder.stem.weight``). The prefix is changed so that the most names and shapes fit. What lies
    outside the prefix, such as the weights of a loss, is not the network's and is not read. If a plain and an averaged (EMA)
    set fit equally, the plain one is read. A teacher comes before its student.

    A weight outside ``used`` may be absent or of another shape. It then becomes NaN: what is computed with it is NaN, and
    never silently random. A left-over weight may lie beside the sub-modules that are used, as a head does. Inside one of
    them it is refused, as a third block where the network has two. Buffers that the network computes itself stay its own.

    Args:
        network: Changed in place, or not at all.
        state_dict: The weights by name.
        source: Where they come from, for messages.
        used: Dotted names of the sub-modules, or of single weights, that are needed; None for all.

    Raises:
        NeuroprintError: A weight that is needed is missing or of another shape, or one is left over. The message shows the
            first few. The log (INFO) and a note on the exception, which tracebacks show, list all.

    Example:
        >>> import torch
        >>> network = torch.nn.ModuleDict({"encoder": torch.nn.Linear(2, 3), "head": torch.nn.Linear(3, 1)})
        >>> file = {"module.encoder.weight": torch.ones(3, 2), "module.encoder.bias": torch.ones(3)}
        >>> load_strictly(network, file, "model.pt", used=["encoder"])
        >>> network["encoder"].bias.detach(), network["head"].bias.detach()
        (tensor([1., 1., 1.]), tensor([nan]))
        >>> load_strictly(network, file, "model.pt")
        Traceback (most recent call last):
        ...
        neuroprint.errors.NeuroprintError: model.pt: these weights are not of this network (2 of its 4 fit); ...
    """
    import torch

    given, wanted = without_recomputed(state_dict), without_recomputed(network.state_dict())
    shapes, found = ({name: tuple(tensor.shape) for name, tensor in state.items()} for state in (wanted, given))
    renamed = _renamed(found, shapes)
    off, before = _prefixes({name: found[their] for name, their in renamed.items()}, shapes, source)
    theirs = {before + name.removeprefix(off): their for name, their in renamed.items() if name.startswith(off)}
    fitting = {name: given[their] for name, their in theirs.items() if found[their] == shapes.get(name)}

    needed = {name for name in shapes if used is None or not _above(name).isdisjoint(used)}
    refused = theirs.keys() - shapes.keys()
    if used is not None:
        refused = _inside(refused, shapes, needed, _above(before) | _shared_by(shapes, used))
    if refused or needed - fitting.keys():
        beside = found.keys() - {theirs[name] for name in theirs.keys() & shapes.keys() | refused}
        left_over = [*sorted(theirs[name] for name in refused), *sorted(beside)]
        missing = sorted(needed - theirs.keys())
        nearest = _nearest({name: shapes[name] for name in missing}, {name: found[name] for name in left_over})
        problems = {
            "missing": {name: name + nearest[name] for name in missing},
            "left over": {name: name for name in left_over},
            "of another shape": {
                name: f"{name} {found[theirs[name]]} instead of {shapes[name]}"
                for name in sorted((needed & theirs.keys()) - fitting.keys())
            },
        }
        raise _refusal(source, problems, f"{len(fitting)} of its {len(shapes)} fit")

    absent = shapes.keys() - fitting.keys()
    with torch.no_grad():
        for name in absent:
            if wanted[name].is_floating_point():
                wanted[name].fill_(torch.nan)
    network.load_state_dict(fitting, strict=False)
    unused = found.keys() - {theirs[name] for name in fitting}
    said = {
        "taken off its names": off.removesuffix("."),
        "put before its names": before.removesuffix("."),
        "not used of it": _counted(name.removeprefix(off) for name in unused),
        "absent or of another shape, not needed, and NaN from here on": _counted(absent),
    }
    if any(said.values()):
        log.info("%s: %s", source, "; ".join(f"{what}: {names}" for what, names in said.items() if names))


def _renamed(given: Iterable[str], wanted: Collection[str]) -> dict[str, str]:
    """The file's names by what they are called where the network's names have the new part and never the old."""
    fit = {
        old: new
        for old, new in _RENAMED.items()
        if not any(old in name for name in wanted) and any(new in name for name in wanted)
    }

    def rename(name: str) -> str:
        for old, new in fit.items():
            name = name.replace(old, new)
        return name

    return {rename(name): name for name in given}


def _prefixes(given: Mapping[str, Shape], wanted: Mapping[str, Shape], source: str) -> tuple[str, str]:
    """What to take off the file's names, and what to put before them then, for the most names and shapes to fit."""
    theirs, ours = _below(given), _below(wanted)
    # Where less than a tenth of the file or of the network fits, that is chance, and names are clearest as they are.
    most = max(1, min(len(given), len(wanted)) // 5)
    best: list[tuple[str, str]] = []
    for off, mine in theirs:
        for before, yours in ours:
            if min(len(mine), len(yours)) < most:
                break  # what follows is smaller still
            shared = len(mine & yours)
            if shared > most:
                most, best = shared, []
            if shared == most:
                best.append((off, before))
    taken = min(best or [("", "")], key=lambda prefixes: (_rank(prefixes[0]), len("".join(prefixes))))
    others = sorted({off for off, _ in best if _rank(off) != _rank(taken[0])}, key=len)
    if others:
        log.info("%s: took the weights under %r; equal names lie under %r", source, taken[0], others[0])
    return taken


def _below(shapes: Mapping[str, Shape]) -> list[tuple[str, set[object]]]:
    """What lies below each prefix, as names and as names with shapes; the prefix with the most first."""
    found: dict[str, set[object]] = {}
    for name, shape in shapes.items():
        for start in (0, *(dot.end() for dot in re.finditer(r"\.", name))):
            found.setdefault(name[:start], set()).update((name[start:], (name[start:], shape)))
    return sorted(found.items(), key=lambda item: -len(item[1]))


def _rank(prefix: str) -> int:
    """Of two prefixes that fit alike: a plain one or a teacher's, then a student's, then an average's."""
    return 2 if _AVERAGED.search(prefix) else int("student" in prefix)


def _above(name: str) -> set[str]:
    """The dotted name itself, all modules that it lies in, and the root ``""``."""
    return {"", *accumulate(name.removesuffix(".").split("."), lambda module, part: f"{module}.{part}")}


def _shared_by(names: Iterable[str], used: Collection[str]) -> set[str]:
    """Modules that hold the whole network, but for those that are named as used: what lies beside their parts is a head."""
    common = [_above(name) - {name} for name in names] or [{""}]
    return {module for module in set.intersection(*common) if _above(module).isdisjoint(used)}


def _inside(left_over: Iterable[str], names: Iterable[str], needed: Iterable[str], roots: Collection[str]) -> set[str]:
    """Those of the left-over names that lie in a module with needed weights, or in one that continues numbered ones.

    Args:
        left_over: Names, with the network's prefix.
        names: The network's.
        needed: Those of them that are needed.
        roots: Modules that lie so high that what they hold besides may be a head.
    """
    modules, used = ({"", *(module for name in some for module in _above(name) - {name})} for some in (names, needed))
    numbered = {_series(module) for name in needed for module in _above(name)} - {None}
    found = set()
    for name in left_over:
        path = sorted(_above(name), key=len)
        first_new = next((module for module in path if module not in modules), name)
        holder = path[path.index(first_new) - 1]
        if (holder in used and holder not in roots) or _series(first_new) in numbered:
            found.add(name)
    return found


def _series(module: str) -> str | None:
    """``encoder.layers`` of ``encoder.layers2``, where the last part has a number; else None."""
    above, dot, last = module.rpartition(".")
    stem = re.match(r"(\D*)\d", last)
    return f"{above}{dot}{stem[1]}" if stem else None


def _nearest(missing: Mapping[str, Shape], near: Mapping[str, Shape]) -> dict[str, str]:
    """What to say beside each missing name: the most similar one of the same shape and numbers, if there is any."""

    def kind(name: str, shape: Shape) -> Hashable:
        return shape, *re.findall(r"\d+", name)

    alike: dict[Hashable, list[str]] = {}
    for name, shape in near.items():
        alike.setdefault(kind(name, shape), []).append(name)
    close = {name: get_close_matches(name, alike.get(kind(name, shape), ()), n=1) for name, shape in missing.items()}
    return {name: f" (the file has {found[0]})" if found else "" for name, found in close.items()}


def _refusal(source: str, problems: Mapping[str, Mapping[str, str]], fit: str) -> NeuroprintError:
    """One line with the first few names; all of them in a note and in the log, by sub-module."""
    found = {what: entries for what, entries in problems.items() if entries}
    short = "; ".join(
        f"{what}: {', '.join(list(entries.values())[:_SHOWN])}"
        + (f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else "")
        for what, entries in found.items()
    )
    lines = []
    for what, entries in found.items():
        lines.append(f"{what}: {_counted(entries)}")
        lines += [f"    {entry}" for entry in entries.values()]
    everything = "\n".join(lines)
    log.info("%s does not fit the network\n%s", source, everything)
    cut = "; the log lists all" if any(len(entries) > _SHOWN for entries in found.values()) else ""
    error = NeuroprintError(
        f"{source}: these weights are not of this network ({fit}); {short}{cut}. "
        "Give the network the arguments that it was trained with, or weights of its own"
    )
    error.add_note(everything)
    return error


def _counted(names: Iterable[str]) -> str:
    """``decoder1 (12 weights), out.conv (2 weights)``: names by the part that they begin with."""
    groups = [list(group) for _, group in groupby(sorted(names), lambda name: name.partition(".")[0])]
    parts = [(max(set.intersection(*map(_above, group)), key=len), len(group)) for group in groups]
    return ", ".join(f"{part} ({count} weight{'s' * (count > 1)})" for part, count in parts)
