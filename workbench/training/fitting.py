"""Whether a recipe suits its base: asked once the base is loaded, before anything is computed."""

from pathlib import Path

from workbench import settings
from workbench.adapters import Adapter
from workbench.adapters.naming import is_encoder
from workbench.data.dataset import Dataset
from workbench.data.inpainting import InpaintingSettings
from workbench.diffusion.weighting import Constant
from workbench.models import loading
from workbench.models.family import Family
from workbench.models.solver import require_solver
from workbench.models.unets import NO_RESCALE
from workbench.recipe import Recipe
from workbench.records import filling
from workbench.settings import SettingsError
from workbench.training.caching import why_live
from workbench.training.devices import processes

__all__ = ["require_fit", "with_masks", "with_prompts", "with_samples"]

_NUM_PROMPTS = 3  # taken from the captions where the recipe names none


def with_masks(recipe: Recipe) -> Recipe:
    """Take `data.inpainting` as {} where a recipe leaves it out and its base fills in masks.

    Args:
        recipe: names the base.
    Returns:
        A recipe whose mask files mean what its base takes them for.
    Raises:
        SettingsError, FileRefused: the base cannot be used, or takes no masks.
    """
    source, filling = loading.locate(recipe.base), recipe.data.inpainting
    if source.inpaints and filling is None:
        data = settings.replace(recipe.data, inpainting=InpaintingSettings())
        return settings.replace(recipe, data=data)
    if not source.inpaints and filling is not None:
        raise SettingsError(
            "data.inpainting needs a base for inpainting, whose U-Net takes nine channels; "
            f"{recipe.base.path} takes a prompt alone: leave data.inpainting out"
        )
    return recipe


def with_prompts(recipe: Recipe, dataset: Dataset, train: list[int]) -> Recipe:
    """Fill in the sample prompts that a recipe leaves open, from the training captions.

    Args:
        recipe: `sampling.prompts` may be absent.
        dataset: the pictures.
        train: record indices trained on.
    Returns:
        A recipe that names its prompts.
    """
    if recipe.sampling.prompts is not None:
        return recipe
    spread = train[:: max(1, len(train) // _NUM_PROMPTS)]
    captions = dict.fromkeys(dataset.plain_caption(record) for record in spread)
    prompts = tuple(caption for caption in captions if caption)[:_NUM_PROMPTS]
    sampling = settings.replace(recipe.sampling, prompts=prompts)
    return settings.replace(recipe, sampling=sampling)


def with_samples(
    recipe: Recipe,
    family: Family,
    dataset: Dataset,
    *,
    split: tuple[list[int], list[int]],
    folder: Path,
) -> Recipe:
    """Fill in what a recipe leaves open of its samples: prompts, and pictures to fill in.

    Args:
        recipe: `sampling.prompts` and `sampling.fill` may be absent.
        family: the loaded base.
        dataset: the pictures.
        split: record indices trained on, and held out.
        folder: the run folder; the pictures are kept there, so that samples can be drawn again.
    Returns:
        A recipe that names its prompts, and the pictures in the folder.
    Raises:
        SettingsError: `sampling.fill` cannot be used.
    """
    train, held_out = split
    recipe = with_prompts(recipe, dataset, train)
    if not family.inpaints:
        return recipe
    place, fill = (folder / filling.FOLDER).absolute(), recipe.sampling.fill
    if processes().is_main_process:
        own = [*sorted(dataset.priors), *held_out, *train]
        fill = None if fill == str(place) else fill
        filling.keep(dataset, own, fill=fill, seed=recipe.training.seed, folder=place)
    return settings.replace(recipe, sampling=settings.replace(recipe.sampling, fill=str(place)))


def require_fit(recipe: Recipe, family: Family, dataset: Dataset, *, trains_text: bool) -> None:
    """Refuse what a base cannot do.

    Args:
        recipe: what is to run.
        family: the loaded base.
        dataset: its pictures.
        trains_text: an adapter is on a text encoder.
    Raises:
        SettingsError: a size, a solver, a weighting or live encoding does not suit the base.
    """
    _require_sizes(recipe, family, dataset)
    sampling = recipe.sampling
    require_solver(
        family.process,
        scheduler=sampling.scheduler,
        spacing=sampling.spacing,
        rescale=sampling.guidance_rescale,
    )
    if family.inpaints and sampling.guidance_rescale and family.name == "sd":
        raise SettingsError(NO_RESCALE)
    if sampling.fill is not None and not family.inpaints:
        raise SettingsError(
            "sampling.fill is for a base for inpainting, and this one takes a prompt alone: leave "
            "it out"
        )
    if family.process.prediction == "flow" and recipe.training.precision == "float16":
        raise SettingsError(
            "training.precision must be 'bfloat16' or 'float32' for a flow-matching base, got "
            "'float16', in which these transformers overflow"
        )
    if family.process.prediction == "flow" and not isinstance(recipe.weighting, Constant):
        raise SettingsError(
            f"weighting.kind must be 'constant' for a flow-matching base, got "
            f"{recipe.weighting.kind!r}: weights by signal-to-noise ratio are derived for noise "
            "schedules; choose which levels are trained with timesteps.kind instead"
        )
    _require_adapter(recipe.adapter, family)
    live = why_live(recipe, is_drawn=dataset.is_drawn, trains_text=trains_text)
    if not live and recipe.data.captions.warmup_steps:
        live = "those of a warm-up are new at every step"
    if live and "text_encoder" in family.frees:
        raise SettingsError(
            f"captions would be encoded in each step ({live}), but the text encoder of this base "
            "is freed before training, since both do not fit a device: set "
            "data.captions.variants=8 for captions that vary, data.cache.text=true, and "
            "data.captions.warmup_steps=0"
        )
    if "codec" in family.frees and (dataset.is_drawn or not recipe.data.cache.latents):
        raise SettingsError(
            "data.cache.latents must be true for this base, whose autoencoder is freed before "
            "training, and pictures must be files"
        )


def _require_adapter(adapter: Adapter, family: Family) -> None:
    """Which parts learn, and how the result is saved."""
    if adapter.text_encoder and not any(map(is_encoder, family.parts)):
        raise SettingsError(
            "adapter.text_encoder must be false for this base: its text encoder, a language model, "
            "stays as it is"
        )
    if adapter.kind == "full" and adapter.layout == "single_file" and family.single_file is None:
        raise SettingsError(
            'adapter.layout must be "diffusers" for this base, got "single_file": no program reads '
            "all its parts from one file"
        )


def _require_sizes(recipe: Recipe, family: Family, dataset: Dataset) -> None:
    """Every side must be a multiple of what the base compresses by."""
    multiple, sampling = family.codec.side_multiple_px, recipe.sampling
    for name, side in (("width", sampling.width), ("height", sampling.height)):
        if side is not None and side % multiple:
            raise SettingsError(
                f"sampling.{name} must be a multiple of {multiple} px for this base, got {side}; "
                f"the nearest is {max(1, round(side / multiple)) * multiple}"
            )
    step = recipe.data.buckets.step
    if step % multiple and not dataset.is_drawn:
        near = max(1, round(step / multiple)) * multiple
        raise SettingsError(
            f"data.buckets.step must be a multiple of {multiple} px for this base, got {step}; "
            f"set data.buckets.step={near}"
        )
