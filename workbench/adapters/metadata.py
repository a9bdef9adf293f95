"""What a LoRA file says about itself: the keys that every user interface reads.

Values are strings, as safetensors wants. What the layers themselves say (rank, alpha, hashes) is
added when the file is written.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

MAX_TAGS = 2000  # 500,000 captions once made files that did not load (sd-scripts #1380)
MAX_TAG_LENGTH = 200


def metadata(
    *,
    output_name: str,
    base_version: str,
    base_name: str,
    resolution: tuple[int, int],
    architecture: str,
    prediction: str = "epsilon",
    base_hashes: Mapping[str, str] | None = None,
    training: Mapping[str, Any] | None = None,
    tags: Mapping[str, Mapping[str, int]] | None = None,
    buckets: Mapping[tuple[int, int], int] | None = None,
    trigger: str | None = None,
    date: datetime | None = None,
) -> dict[str, str]:
    """Compose the metadata of a LoRA file.

    Args:
        output_name: of the LoRA.
        base_version: kohya's word for the family: "sd_v1", "sd_v2", "sd_v2_v", "sdxl_base_v1-0".
        base_name: file name or hub id of the base model.
        resolution: width and height trained at, px.
        architecture: modelspec's word for the family, for example "stable-diffusion-v1".
        prediction: "epsilon", "v_prediction" or "flow", for which modelspec has no word.
        base_hashes: "sd_model_hash" (64 KiB at 1 MiB, 8 hex) and "new_sd_model_hash" (SHA-256).
        training: further ss_* entries without the prefix: seed, steps, clip_skip, unet_lr, ...
        tags: folder to tag to count.
        buckets: bucket (width, height in px) to number of images.
        trigger: word that calls the concept.
        date: when training ended; now by default.
    Returns:
        Key to string.
    """
    when = date or datetime.now(UTC)
    table, left_out = cap_tags(tags or {})
    entries: dict[str, Any] = {
        "output_name": output_name,
        "base_model_version": base_version,
        "sd_model_name": base_name,
        "resolution": str(tuple(resolution)),
        "v2": base_version.startswith("sd_v2"),
        "tag_frequency": table or None,
        "bucket_info": _bucket_info(buckets or {}) or None,
        "enable_bucket": bool(buckets),
        "training_finished_at": when.timestamp(),
    } | {**(base_hashes or {}), **(training or {})}
    ours = {f"ss_{key}": _text(value) for key, value in entries.items() if value is not None}
    ours["workbench.tags_left_out"] = str(left_out)
    spec = {
        "sai_model_spec": "1.0.1",
        "architecture": f"{architecture}/lora",
        "implementation": "diffusers",
        "title": output_name,
        "resolution": "{}x{}".format(*resolution),
        "date": when.isoformat(timespec="seconds"),
        "prediction_type": {"epsilon": "epsilon", "v_prediction": "v"}.get(prediction),
        "trigger_phrase": trigger,
        "encoder_layer": entries.get("clip_skip"),
    }
    return ours | {f"modelspec.{key}": _text(value) for key, value in spec.items() if value}


def cap_tags(
    tags: Mapping[str, Mapping[str, int]], *, limit: int = MAX_TAGS
) -> tuple[dict[str, dict[str, int]], int]:
    """Keep the most frequent tags, so that the header stays readable for every loader.

    Args:
        tags: folder to tag to count.
        limit: number of tags kept over all folders.
    Returns:
        The table, most frequent first, and how many tags were left out.
    """
    entries = [(count, folder, tag) for folder in tags for tag, count in tags[folder].items()]
    short = sorted((e for e in entries if len(e[2]) <= MAX_TAG_LENGTH), key=lambda e: -e[0])
    table: dict[str, dict[str, int]] = {}
    for count, folder, tag in short[:limit]:
        table.setdefault(folder, {})[tag] = count
    return table, len(entries) - len(short[:limit])


def _bucket_info(buckets: Mapping[tuple[int, int], int]) -> dict[str, Any]:
    rows = {
        str(i): {"resolution": list(size), "count": count}
        for i, (size, count) in enumerate(sorted(buckets.items()))
    }
    return {"buckets": rows} if rows else {}


def _text(value: Any) -> str:
    """Dictionaries and lists as JSON, everything else as Python and kohya spell it."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
