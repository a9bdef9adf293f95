"""Does what was trained stay behind its trigger? Measured in the model; no picture is drawn.

For a condition c, d(c) is what the trained model answers less what its base answers, at the same
noised picture. *Reach* says how large d is with the trigger, as a share of the base's squared
error. *Leak* says which part of that is there without the trigger too: <d(c), d(with)> over
|d(with)|^2, 0 for an unrelated change, 1 where the trigger changes nothing. A ratio of norms would
have no such zero: it also counts what has nothing to do with the concept.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from workbench import seeds
from workbench.adapters.naming import is_encoder
from workbench.data.dataset import Dataset
from workbench.data.inpainting import InpaintingSettings
from workbench.evaluation.copying import kinds
from workbench.evaluation.loading import Trained
from workbench.evaluation.results import Leak, LeakAt
from workbench.models.family import Condition, Family, Rows, SizeInfo
from workbench.process import THOUSAND
from workbench.records.sampling import evaluating, heed, without_trigger
from workbench.settings import SettingsError

NUM_PROMPTS, NUM_PLACES = 8, 5
# Prompts of nothing in particular, for data without ordinary pictures of their own.
UNRELATED = (
    "a glass of water on a table",
    "a street in the rain",
    "an old map",
    "a bowl of fruit",
    "a train station",
    "clouds over a field",
    "a stack of books",
    "a wooden door",
)


@dataclass(frozen=True, slots=True)
class Probe:
    """One picture that is noised, and what the model is told of it.

    Attributes:
        of: "concept" or "ordinary".
        latents: clean, (1, C, h, w), on the CPU.
        size: where the picture comes from.
        beside: of a base that fills in, (1, C', h, w).
        texts: with the trigger, without it, and perhaps an unrelated prompt.
        number: of the prompt among those of its kind; seeds the noise.
    """

    of: str
    latents: Tensor
    size: SizeInfo
    beside: Tensor | None
    texts: tuple[str, ...]
    number: int


def measure_leak(
    trained: Trained,
    dataset: Dataset,
    *,
    num_prompts: int = NUM_PROMPTS,
    strength: float = 1.0,
    unrelated: bool = True,
) -> Leak:
    """Ask trained model and base about the same noised pictures, told different things.

    Args:
        trained: the model with its adapter on it.
        dataset: the run's pictures; those without a trigger are the ordinary ones.
        num_prompts: pictures of each kind, with their captions.
        strength: at which the adapter acts, not 0.
        unrelated: ask with unrelated prompts, too; without them it takes two thirds of the time.
    Returns:
        Reach and leak, over all places and by place.
    Raises:
        SettingsError: there is no trigger, no picture, or the base is gone.
    """
    started = time.monotonic()
    if not trained.trigger:
        raise SettingsError("there is no trigger that a concept could leak from")
    if not trained.adapter.keeps_base:
        raise SettingsError(
            "the base's weights are gone; with adapter.keep_start = true a full fine-tune keeps "
            "them, and the leak can be measured"
        )
    probes = _probes(trained, dataset, num_prompts)
    if not unrelated:
        probes = [replace(probe, texts=probe.texts[:2]) for probe in probes]
    # (probes, 3 conditions, places): with the trigger, without it, unrelated
    errors, products = [], []
    texts = list(dict.fromkeys(text for probe in probes for text in probe.texts))
    with evaluating(trained.family):
        rows = _encoded(trained, texts, strength)
        for probe in probes:
            heed()
            error, product = _ask(trained, probe, rows, strength)
            errors.append(error)
            products.append(product)
    return _summed_up(
        [probe.of for probe in probes],
        torch.stack(errors),
        torch.stack(products),
        seconds=time.monotonic() - started,
    )


def _ask(
    trained: Trained, probe: Probe, rows: dict[float, dict[str, Rows]], acting: float
) -> tuple[Tensor, Tensor]:
    """Squared error of the base (places,), and <d(c), d(with)> of each condition (3, places)."""
    family, process = trained.family, trained.family.process
    middles = (torch.arange(NUM_PLACES) + 0.5) * THOUSAND / NUM_PLACES
    level = process.at(middles).to(family.device)
    generator = seeds.generator(0, f"leak {probe.of}", probe.number)
    latents = probe.latents.to(family.device).expand(NUM_PLACES, -1, -1, -1)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    noisy, target = process.mix(latents, noise, level)
    answers = {}
    for strength in (0.0, acting):
        with trained.adapter.strength(strength):
            told = [rows[strength][text] for text in probe.texts]
            answers[strength] = _answers(trained, probe, told, noisy=noisy, level=level)
    change = (answers[acting] - answers[0.0]).double().flatten(2)  # (3, places, C h w)
    error = (answers[0.0][0].double() - target.double().cpu()).square().flatten(1).sum(1)
    return error, (change * change[:1]).sum(2)


def _answers(
    trained: Trained, probe: Probe, told: Sequence[Rows], *, noisy: Tensor, level: Tensor
) -> Tensor:
    """What the model answers to each text at each place, (texts, places, C, h, w), on the CPU."""
    # Guidance asks everything twice, so sampling has room for as many rows as that.
    twice = 2 if trained.sampling.guidance > 1 else 1
    family, most = trained.family, twice * max(1, trained.sampling.batch_size)
    every = [(rows, place) for rows in told for place in range(len(level))]
    found = []
    for start in range(0, len(every), most):
        some = every[start : start + most]
        places = torch.tensor([place for _, place in some], device=noisy.device)
        beside = probe.beside
        condition = Condition(
            family.collate([rows for rows, _ in some]),
            (probe.size,) * len(some),
            None if beside is None else beside.to(noisy.device).expand(len(some), -1, -1, -1),
        )
        found.append(family.denoise(noisy[places], level[places], condition).float().cpu())
    return torch.cat(found).view(len(told), len(level), *noisy.shape[1:])


def _encoded(trained: Trained, texts: Sequence[str], acting: float) -> dict[float, dict[str, Rows]]:
    """Each text for base and trained model; the same rows for both where no encoder learned."""
    family, found = trained.family, {}
    learned = any(map(is_encoder, trained.adapter.modules))
    with family.using("text_encoder"):
        for strength in (acting, 0.0) if learned else (acting,):
            with trained.adapter.strength(strength):
                found[strength] = dict(zip(texts, family.encode_text(texts), strict=True))
    return {0.0: found[acting]} | found


def _probes(trained: Trained, dataset: Dataset, count: int) -> list[Probe]:
    """The concept's pictures under their captions, and ordinary ones also with the trigger."""
    concept, ordinary = kinds(dataset)
    if not concept:
        raise SettingsError("no picture of the concept is there: none has a trigger")
    chosen = {"concept": _spread(concept, count), "ordinary": _spread(ordinary, count)}
    plain = [dataset.plain_caption(record) for record in chosen["ordinary"]]
    words = {"trigger": trained.trigger, "class_word": trained.class_word}
    separator = dataset.settings.captions.separator
    probes = []
    with trained.family.using("codec"), evaluating(trained.family):
        for of, records in chosen.items():
            for number, record in enumerate(records):
                caption = dataset.plain_caption(record)
                without = caption if of == "ordinary" else without_trigger(caption, **words)
                called = caption if of == "concept" else _called(trained, caption, separator)
                other = (
                    plain[(number + 1) % len(plain)] if len(plain) > 1 else UNRELATED[number % 8]
                )
                texts = (called, without, other)
                probes.append(_probe(trained.family, dataset, of, record, (texts, number)))
    return probes


def _called(trained: Trained, caption: str, separator: str) -> str:
    return separator.join(filter(None, (trained.trigger, caption)))


def _probe(
    family: Family, dataset: Dataset, of: str, record: int, told: tuple[tuple[str, str, str], int]
) -> Probe:
    pixels = dataset.pixels(record)[None]
    placement, source = dataset.placements[record], dataset.records[record]
    size = SizeInfo(
        original=(source.width, source.height),
        crop=placement.crop_corner(flipped=False),
        target=placement.bucket,
    )
    beside = None
    if family.inpaints:
        height, width = pixels.shape[2:]
        mask = InpaintingSettings(full=0.0).draw((height, width), seed=0, place=(0, told[1]))
        beside = family.beside(pixels, mask[None]).cpu()
    latents = family.codec.encode(pixels.to(family.device)).mean.float().cpu()
    return Probe(of, latents, size, beside, *told)


def _spread(records: Sequence[int], count: int) -> list[int]:
    most = min(count, len(records))
    return [records[k * len(records) // most] for k in range(most)]


# ----------------------------------------------------------------------------------- the numbers


def _summed_up(of_each: Sequence[str], errors: Tensor, products: Tensor, *, seconds: float) -> Leak:
    """Add places up, each in units of the base's own error there, which falls a hundredfold."""
    units = errors.mean(dim=0)  # (places,)
    errors, products = errors / units, products / units
    asked = products.shape[1] > 2  # about unrelated prompts
    of = {kind: [k for k, one in enumerate(of_each) if one == kind] for kind in set(of_each)}

    def share(kind: str, condition: int, places: slice = slice(None)) -> tuple[float, ...]:
        found = products[of[kind]][:, :, places].sum(dim=2)  # (prompts, 3)
        strength = found[:, 0].clamp(min=1e-30)
        return tuple((found[:, condition] / strength).tolist())

    def reach(kind: str, places: slice = slice(None)) -> tuple[float, ...]:
        size, error = products[of[kind]][:, 0, places], errors[of[kind]][:, places]
        return tuple((size.sum(1) / error.sum(1)).tolist())

    def rows() -> Iterator[LeakAt]:
        for kind in of:
            for k in range(NUM_PLACES):
                at, edge = slice(k, k + 1), THOUSAND // NUM_PLACES
                other = share(kind, 2, at) if asked else (math.nan,)
                numbers = (reach(kind, at), share(kind, 1, at), other)
                means = (sum(values) / len(values) for values in numbers)
                yield LeakAt(kind, k * edge, (k + 1) * edge, *means)

    return Leak(
        reach=reach("concept"),
        concept=share("concept", 1),
        ordinary=share("ordinary", 1) if "ordinary" in of else (),
        unrelated=tuple(value for kind in of for value in share(kind, 2)) if asked else (),
        places=tuple(rows()),
        seconds=seconds,
    )
