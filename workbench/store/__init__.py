"""Every file goes through here: reads that trust nothing, writes that never leave half a file."""

from workbench.store.archives import MAX_ARCHIVE_ENTRIES, MAX_ARCHIVE_RATIO, Archive
from workbench.store.colour import COLOUR_VERSION, Colour
from workbench.store.drives import DriveWatch, Silence
from workbench.store.files import (
    FileRefused,
    cache_home,
    free_bytes,
    no_room,
    read_json,
    read_text,
    replacing,
    shown,
    sync,
    write_bytes,
    write_json,
    write_text,
)
from workbench.store.formats import (
    IMAGE_EXTENSIONS,
    RAW_EXTENSIONS,
    UNREAD_EXTENSIONS,
    is_picture,
    looks_cut_short,
)
from workbench.store.hashes import file_hash
from workbench.store.hub_layout import hub_config, hub_tensors, own_names, weights_path
from workbench.store.images import (
    IMAGE_FORMATS,
    MAX_PIXELS,
    ImageHeader,
    image_header,
    open_image,
    to_alpha,
    to_grey,
    to_rgb,
)
from workbench.store.streaming import LazyTensor, raw_bytes, stored_tensors, stream_tensors
from workbench.store.systems import is_far, is_link, patiently, unportable, why_away
from workbench.store.tensors import (
    PICKLE_EXTENSIONS,
    load_tensors,
    read_header,
    save_tensors,
    write_tensors,
)

__all__ = [
    "COLOUR_VERSION",
    "IMAGE_EXTENSIONS",
    "IMAGE_FORMATS",
    "MAX_ARCHIVE_ENTRIES",
    "MAX_ARCHIVE_RATIO",
    "MAX_PIXELS",
    "PICKLE_EXTENSIONS",
    "RAW_EXTENSIONS",
    "UNREAD_EXTENSIONS",
    "Archive",
    "Colour",
    "DriveWatch",
    "FileRefused",
    "ImageHeader",
    "LazyTensor",
    "Silence",
    "cache_home",
    "file_hash",
    "free_bytes",
    "hub_config",
    "hub_tensors",
    "image_header",
    "is_far",
    "is_link",
    "is_picture",
    "load_tensors",
    "looks_cut_short",
    "no_room",
    "open_image",
    "own_names",
    "patiently",
    "raw_bytes",
    "read_header",
    "read_json",
    "read_text",
    "replacing",
    "save_tensors",
    "shown",
    "stored_tensors",
    "stream_tensors",
    "sync",
    "to_alpha",
    "to_grey",
    "to_rgb",
    "unportable",
    "weights_path",
    "why_away",
    "write_bytes",
    "write_json",
    "write_tensors",
    "write_text",
]
