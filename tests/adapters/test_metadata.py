"""The metadata of LoRA files: strings, kohya's keys, and a tag table that stays small."""

import json
from datetime import UTC, datetime

from workbench.adapters.metadata import MAX_TAGS, cap_tags, metadata

WHEN = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


def test_says_what_user_interfaces_read() -> None:
    got = metadata(
        output_name="mochi",
        base_version="sd_v1",
        base_name="base.safetensors",
        resolution=(512, 768),
        architecture="stable-diffusion-v1",
        base_hashes={"sd_model_hash": "01234567", "new_sd_model_hash": "ab" * 32},
        training={"seed": 7, "steps": 100, "clip_skip": 2, "unet_lr": 1e-4, "session_id": None},
        tags={"mochi": {"cat": 3, "snow": 5}},
        buckets={(512, 768): 4, (512, 512): 2},
        trigger="mochi",
        date=WHEN,
    )
    assert all(isinstance(key, str) and isinstance(value, str) for key, value in got.items())
    expected = {
        "ss_output_name": "mochi",
        "ss_base_model_version": "sd_v1",
        "ss_sd_model_name": "base.safetensors",
        "ss_sd_model_hash": "01234567",
        "ss_new_sd_model_hash": "ab" * 32,
        "ss_resolution": "(512, 768)",
        "ss_v2": "False",
        "ss_seed": "7",
        "ss_steps": "100",
        "ss_clip_skip": "2",
        "ss_unet_lr": "0.0001",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": "mochi",
        "modelspec.resolution": "512x768",
        "modelspec.date": "2024-05-06T07:08:09+00:00",
        "modelspec.prediction_type": "epsilon",
        "modelspec.trigger_phrase": "mochi",
        "modelspec.encoder_layer": "2",
    }
    assert expected.items() <= got.items()
    assert "ss_session_id" not in got
    assert json.loads(got["ss_tag_frequency"]) == {"mochi": {"cat": 3, "snow": 5}}
    buckets = json.loads(got["ss_bucket_info"])["buckets"]
    assert buckets["1"] == {"resolution": [512, 768], "count": 4}


def test_velocity_is_spelled_as_the_specification_does() -> None:
    got = metadata(
        output_name="x",
        base_version="sd_v2_v",
        base_name="x",
        resolution=(768, 768),
        architecture="stable-diffusion-v2-768-v",
        prediction="v_prediction",
    )
    assert got["modelspec.prediction_type"] == "v" and got["ss_v2"] == "True"


def test_the_tag_table_keeps_the_most_frequent() -> None:
    tags = {"a": {f"tag {i}": i for i in range(1, 5001)}, "b": {"x" * 500: 9999, "often": 6000}}
    table, left_out = cap_tags(tags)
    assert sum(map(len, table.values())) == MAX_TAGS
    assert left_out == 5002 - MAX_TAGS
    assert table["b"] == {"often": 6000}
    assert next(iter(table["a"])) == "tag 5000"
    got = metadata(
        output_name="x",
        base_version="sd_v1",
        base_name="x",
        resolution=(64, 64),
        architecture="stable-diffusion-v1",
        tags=tags,
    )
    assert got["workbench.tags_left_out"] == str(left_out)
    assert len(got["ss_tag_frequency"]) < 100_000
