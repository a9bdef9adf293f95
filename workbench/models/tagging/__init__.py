"""Models that put pictures into words, behind one protocol: tags or sentences for captions."""

from typing import Annotated

from pydantic import Field

from workbench.models.tagging.base import Suggestion, Tagger
from workbench.models.tagging.clip import CrittersCLIP, ZeroShot
from workbench.models.tagging.image_to_text import ImageToText
from workbench.models.tagging.wd14 import WD14
from workbench.settings import Settings, setting

__all__ = [
    "WD14",
    "AnyTagger",
    "CrittersCLIP",
    "ImageToText",
    "Suggestion",
    "Tagger",
    "TaggingSettings",
    "ZeroShot",
]

AnyTagger = Annotated[
    CrittersCLIP | ZeroShot | WD14 | ImageToText,
    Field(discriminator="kind"),
]


class TaggingSettings(Settings):
    """Which model reads the pictures."""

    tagger: AnyTagger = setting(CrittersCLIP(), help="the model that puts pictures into words")
