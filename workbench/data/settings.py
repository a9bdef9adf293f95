"""Every setting of the data: what is shown, how it is cut and varied, and what is kept of it."""

from pydantic import model_validator

from workbench.data.augment import AugmentSettings
from workbench.data.buckets import BucketSettings
from workbench.data.cache import CacheSettings
from workbench.data.captions import CaptionSettings
from workbench.data.inpainting import InpaintingSettings
from workbench.data.masks import MaskSettings
from workbench.data.subsets import Subset
from workbench.settings import Settings, setting

__all__ = ["DataSettings"]


class DataSettings(Settings):
    """The pictures and everything that is done to them before a training step."""

    subsets: tuple[Subset, ...] = setting((), help="sources of pictures")
    captions: CaptionSettings = setting(CaptionSettings(), help="how captions vary")
    buckets: BucketSettings = setting(BucketSettings(), help="sizes that pictures are trained at")
    augment: AugmentSettings = setting(AugmentSettings(), help="how pictures vary")
    masks: MaskSettings = setting(MaskSettings(), help="which part of each picture counts")
    inpainting: InpaintingSettings | None = setting(
        None,
        help="what a base for inpainting learns to fill in; mask files then say this, and no "
        "longer what counts in the loss. Absent: a base for inpainting takes it as {}",
    )
    background: str = setting(
        "white",
        pattern=r"^(white|grey|black|#[0-9a-fA-F]{6})$",
        help="what transparent parts are laid on: white, grey, black or a colour such as #00ff00",
    )
    cache: CacheSettings = setting(CacheSettings(), help="what is computed once and kept")

    @model_validator(mode="after")
    def _masks_mean_one_thing(self) -> "DataSettings":
        if self.inpainting is not None and self.masks.source == "alpha":
            raise ValueError(
                "masks.source = 'alpha' weighs the loss, which hides from a base for inpainting "
                "what it must fill in; set masks.source = 'files', or leave inpainting out"
            )
        return self

    holdout: float = setting(
        0.1, ge=0, le=0.5, help="share kept from training, to see overfitting; from 20 pictures up"
    )
