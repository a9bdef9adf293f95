"""Whether a recipe suits its base: asked once the base is loaded, before anything is computed."""

from workbench import settings
from workbench.adapters import Adapter
from workbench.adapters.naming import is_encoder
from workbench.data.dataset import Dataset
from workbench.diffusion.weighting import Constant
from workbench.models.family import Family
from workbench.models.solver import require_solver
from workbench.recipe import Recipe
from workbench.settings import SettingsError
from workbench.training.caching import why_live

__all__ = ["require_fit", "with_prompts"]

_NUM_PROMPTS = 3  # taken from the captions where the recipe names none


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
    if recipe.data.inpainting is not None and not family.inpaints:
        raise SettingsError(
            "data.inpainting needs a base for inpainting, whose U-Net takes nine channels; "
            f"{recipe.base.path} takes a prompt alone: leave data.inpainting out"
        )
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
