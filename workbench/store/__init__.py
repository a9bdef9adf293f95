"""Every file goes through here: reads that trust nothing, writes that never leave half a file."""

from workbench.store.archives import MAX_ARCHIVE_ENTRIES, MAX_ARCHIVE_RATIO, Archive
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
from workbench.store.hashes import file_hash
from workbench.store.images import (
    IMAGE_EXTENSIONS,
    IMAGE_FORMATS,
    MAX_PIXELS,
    ImageHeader,
    image_header,
    open_image,
    to_alpha,
    to_rgb,
)
from workbench.store.tensors import (
    PICKLE_EXTENSIONS,
    load_tensors,
    read_header,
    save_tensors,
    write_tensors,
)

__all__ = [
    "IMAGE_EXTENSIONS",
    "IMAGE_FORMATS",
    "MAX_ARCHIVE_ENTRIES",
    "MAX_ARCHIVE_RATIO",
    "MAX_PIXELS",
    "PICKLE_EXTENSIONS",
    "Archive",
    "FileRefused",
    "ImageHeader",
    "cache_home",
    "file_hash",
    "free_bytes",
    "image_header",
    "load_tensors",
    "no_room",
    "open_image",
    "read_header",
    "read_json",
    "read_text",
    "replacing",
    "save_tensors",
    "shown",
    "sync",
    "to_alpha",
    "to_rgb",
    "write_bytes",
    "write_json",
    "write_tensors",
    "write_text",
]
