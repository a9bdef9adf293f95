"""Precision and devices."""

from workbench.checks.rules import Facts, Found, applies, rule
from workbench.models import loading
from workbench.models.defaults import Machine
from workbench.recipe import Recipe
from workbench.settings import SettingsError
from workbench.store import FileRefused


@rule(
    "refuse",
    "training.precision",
    reason="float16 training needs a CUDA device, and there is none",
    fix="set training.precision=float32 and base.dtype=float32",
    source="torch: the loss scaler of float16 needs CUDA",
    allowable=False,
)
def half_on_cpu(recipe: Recipe, facts: Facts) -> Found:
    """float16 without a GPU."""
    half = "float16" in (recipe.training.precision, recipe.base.dtype)
    return applies(half and not facts.cuda)


@rule(
    "refuse",
    "training.precision",
    reason="this GPU computes bfloat16 only by emulation, slower than float32",
    fix="set base.dtype={dtype} training.precision={precision}",
    source="torch.cuda.is_bf16_supported(including_emulation=False)",
    allowable=False,
)
def bfloat16_emulated(recipe: Recipe, facts: Facts) -> Found:
    """bfloat16 on a GPU that only emulates it."""
    precision, own = recipe.training.precision, recipe.base.dtype
    # Without mixed precision the base computes in its own type.
    wanted = own if precision == "float32" else precision
    if wanted != "bfloat16" or not facts.cuda or facts.native_bfloat16:
        return None
    return applies(True, **_in_precision(recipe, _suited_precision(recipe, facts)))


def _suited_precision(recipe: Recipe, facts: Facts) -> str:
    """What this machine computes the base in best; flows overflow in float16."""
    try:
        advised = loading.defaults(recipe.base, Machine(facts.cuda, facts.native_bfloat16))
    except (SettingsError, FileRefused, OSError):  # `base_unusable` says why
        advised = ()
    found = {one.setting: one.value for one in advised}
    return found.get("training.precision", "bfloat16" if facts.native_bfloat16 else "float16")


def _in_precision(recipe: Recipe, precision: str) -> dict[str, object]:
    """What the fix sets; weights in bfloat16 cannot take the scaled gradients of float16."""
    narrow = precision == "float16" and recipe.training.trainable_dtype == "bfloat16"
    scaled = " training.trainable_dtype=float32" if narrow else ""
    return {"dtype": precision, "precision": f"{precision}{scaled}"}


@rule(
    "note",
    "training.precision",
    reason="float32 takes about twice the time and memory of {faster} on a GPU",
    fix="set base.dtype={dtype} training.precision={precision}",
    source="tensor cores: trainable weights stay in float32 all the same",
)
def full_precision_on_gpu(recipe: Recipe, facts: Facts) -> Found:
    """float32 on a GPU, for a base of real size."""
    wants = recipe.training.precision == "float32"
    if not wants or not facts.cuda or facts.base.is_critters:
        return None
    faster = _suited_precision(recipe, facts)
    values = _in_precision(recipe, faster)
    return applies(faster != "float32", faster=faster, **values)


@rule(
    "warn",
    "base.vae_dtype",
    reason="SDXL's own autoencoder overflows in float16: latents become NaN and pictures black",
    fix="set base.vae_dtype=float32 or bfloat16, or base.vae to a fixed one",
    source="madebyollin/sdxl-vae-fp16-fix",
)
def sdxl_vae_half(recipe: Recipe, facts: Facts) -> Found:
    """SDXL's original autoencoder in float16."""
    half = recipe.base.vae_dtype == "float16" and recipe.base.vae is None
    return applies(half and facts.base.family == "sdxl")


@rule(
    "note",
    "base.path",
    reason="there is no CUDA device, and a step of a real base takes minutes on a CPU",
    fix="train on a GPU; base.path=critters is made for a CPU",
    source="SD 1.5's U-Net: about 340 GMAC an image, and twice that for the backward pass",
)
def real_base_on_cpu(recipe: Recipe, facts: Facts) -> Found:
    """A base of 512 px or more without a GPU."""
    return applies(not facts.cuda and (facts.base.native_px or 0) >= 512)


@rule(
    "note",
    "base.gradient_checkpointing",
    reason="{pixels:.1f} megapixels go through in one forward pass with every activation kept, "
    "which is what fills a GPU first",
    fix="set base.gradient_checkpointing=true, or lower training.batch_size",
    source="diffusers' SDXL training example; `workbench check --measure` says what is needed",
)
def no_gradient_checkpointing(recipe: Recipe, facts: Facts) -> Found:
    """More than two megapixels of SDXL in a batch, every activation kept."""
    pixels = recipe.training.batch_size * recipe.data.buckets.resolution**2 / 1e6
    large = facts.base.family == "sdxl" and pixels > 2.2
    return applies(large and not recipe.base.gradient_checkpointing, pixels=pixels)
