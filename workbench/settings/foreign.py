"""Configurations of other trainers: recognised by their keys, and answered with a command.

Nothing is converted in silence: the command shows what was taken over, and the answer names the
rest. Facts about keys come from the trainers' own documentation.
"""

import json
import shlex
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

__all__ = ["answer_foreign"]

Flat = dict[str, object]
_PRECISIONS = {
    **dict.fromkeys(("bf16", "bfloat16"), "bfloat16"),
    **dict.fromkeys(("fp16", "float16"), "float16"),
    **dict.fromkeys(("no", "fp32", "float32", "float"), "float32"),
}
# Keys that choose nothing here: where things are written, and what is always so.
_SILENT = ("output", "logging", "save_", "version", "job", "type", "name", "device", "general.")


@dataclass(frozen=True, slots=True)
class _Trainer:
    """How to recognise a trainer, and what its keys are here.

    Attributes:
        name: as its users call it.
        marks: one of these keys gives it away.
        keys: its key to ours; --base and --data are options of `workbench new`.
    """

    name: str
    marks: tuple[str, ...]
    keys: Mapping[str, str]


_COMMON = {
    "gradient_accumulation_steps": "training.accumulation",
    "seed": "training.seed",
    "learning_rate": "optimizer.learning_rate",
}
_KOHYA = _Trainer(
    "kohya's sd-scripts or its GUI",
    (
        *("network_dim", "network_module", "train_data_dir", "LoRA_type"),
        *(f"datasets.0.subsets.0.{key}" for key in ("image_dir", "num_repeats")),
        "general.caption_extension",
    ),
    {
        **_COMMON,
        "pretrained_model_name_or_path": "--base",
        "train_data_dir": "--data",
        "datasets.0.subsets.0.image_dir": "--data",
        "network_dim": "adapter.rank",
        "network_alpha": "adapter.alpha",
        "max_train_epochs": "length.epochs",
        "epoch": "length.epochs",
        "max_train_steps": "length.steps",
        "unet_lr": "optimizer.learning_rate",
        "train_batch_size": "training.batch_size",
        "datasets.0.batch_size": "training.batch_size",
        "mixed_precision": "training.precision",
        "resolution": "data.buckets.resolution",
        "max_resolution": "data.buckets.resolution",
        "datasets.0.resolution": "data.buckets.resolution",
        **{f"{where}shuffle_caption": "data.captions.shuffle" for where in ("", "general.")},
        **{f"{where}keep_tokens": "data.captions.keep_tokens" for where in ("", "general.")},
        "caption_dropout_rate": "data.captions.caption_dropout",
        "caption_tag_dropout_rate": "data.captions.tag_dropout",
        "datasets.0.subsets.0.class_tokens": "data.subsets.0.trigger",
        "datasets.0.subsets.0.num_repeats": "data.subsets.0.repeats",
    },
)
_TRAINERS = (
    _Trainer(
        "OneTrainer",
        ("training_method", "concept_file_name", "lora_rank"),
        {
            **_COMMON,
            "base_model_name": "--base",
            "concepts.0.path": "--data",
            "lora_rank": "adapter.rank",
            "lora_alpha": "adapter.alpha",
            "epochs": "length.epochs",
            "batch_size": "training.batch_size",
            "train_dtype": "training.precision",
            "resolution": "data.buckets.resolution",
        },
    ),
    _Trainer(
        "ai-toolkit",
        ("config.process.0.network.linear", "config.process.0.datasets.0.folder_path"),
        {
            f"config.process.0.{key}": ours
            for key, ours in {
                "model.name_or_path": "--base",
                "datasets.0.folder_path": "--data",
                "trigger_word": "data.subsets.0.trigger",
                "network.linear": "adapter.rank",
                "network.linear_alpha": "adapter.alpha",
                "train.steps": "length.steps",
                "train.lr": "optimizer.learning_rate",
                "train.batch_size": "training.batch_size",
                "train.gradient_accumulation_steps": "training.accumulation",
                "train.dtype": "training.precision",
                "train.diff_output_preservation": "training.preservation",
                "train.diff_output_preservation_class": "data.subsets.0.class_word",
                "datasets.0.caption_dropout_rate": "data.captions.caption_dropout",
                "datasets.0.shuffle_tokens": "data.captions.shuffle",
                "datasets.0.resolution.0": "data.buckets.resolution",
            }.items()
        },
    ),
    _Trainer(
        "SimpleTuner",
        ("data_backend_config", "model_family"),
        {
            **_COMMON,
            "pretrained_model_name_or_path": "--base",
            "lora_rank": "adapter.rank",
            "lora_alpha": "adapter.alpha",
            "num_train_epochs": "length.epochs",
            "max_train_steps": "length.steps",
            "train_batch_size": "training.batch_size",
            "mixed_precision": "training.precision",
            "resolution": "data.buckets.resolution",
        },
    ),
    _KOHYA,
)


def answer_foreign(text: str, *, source: str) -> str | None:
    """Recognise another trainer's configuration, and say how to go on with it here.

    Args:
        text: of a file that is no recipe: TOML, JSON or YAML.
        source: its name.
    Returns:
        What it is, with a command that takes over what has a counterpart; None for other files.
    """
    flat = {key.removeprefix("--"): value for key, value in _flat(_parsed(text))}
    trainer = next((one for one in _TRAINERS if any(mark in flat for mark in one.marks)), None)
    if trainer is None:
        return None
    options = {"--data": "FOLDER"}
    changes: dict[str, str] = {}
    taken: set[str] = set()
    for key, ours in trainer.keys.items():
        value = _value(ours, flat.get(key))
        if value is not None:
            taken.add(key)
            (options if ours.startswith("--") else changes)[ours] = value
    if "length.steps" in changes:
        changes.pop("length.epochs", None)
    elif "length.epochs" in changes:
        changes = {"length.steps": "none", **changes}  # the preset's own end would come first
    words = [word for option, value in options.items() for word in (option, value)]
    command = shlex.join(
        ["workbench", "new", "NAME", *words, *(f"{key}={value}" for key, value in changes.items())]
    )
    rest = [key for key in flat if key not in taken and not key.startswith(_SILENT)]
    rest = [key for key in rest if not key.rpartition(".")[2].startswith(_SILENT)]
    left = f"\nNot taken over: {', '.join(rest[:12])}{', ...' * (len(rest) > 12)}" if rest else ""
    return (
        f"{source}: a configuration of {trainer.name}, no recipe; the same here:\n  {command}{left}"
    )


def _parsed(text: str) -> object:
    for parse in (tomllib.loads, json.loads, _yaml):
        try:
            return parse(text)
        except (ValueError, RecursionError):
            continue
    return None


def _yaml(text: str) -> object:
    import yaml  # comes with transformers

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _flat(data: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every value with its dotted path."""
    if isinstance(data, Mapping):
        inner = ((str(key), value) for key, value in data.items())
    elif isinstance(data, list):
        inner = ((str(number), value) for number, value in enumerate(data))
    else:
        yield prefix.removesuffix("."), data
        return
    for key, value in inner:
        yield from _flat(value, f"{prefix}{key}.")


def _value(ours: str, value: object) -> str | None:
    """A value as our setting takes it; None where it says nothing."""
    if value in (None, "", 0) and value is not False:
        return None
    convert = _CONVERT.get(ours.rpartition(".")[2], _plain)
    return convert(value)


def _plain(value: object) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _resolution(value: object) -> str | None:
    side = str(value).split(",")[0].split("x")[0].strip()
    return side if side.isdigit() else None


def _precision(value: object) -> str | None:
    return _PRECISIONS.get(str(value).lower().removeprefix("torch."))


def _text(value: object) -> str | None:
    return json.dumps(str(value), ensure_ascii=False)


def _number(value: object) -> str | None:
    """A number, also where it is written as text; a fraction of a whole one stays."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    return f"{number:g}"


_CONVERT: dict[str, Callable[[object], str | None]] = {
    "resolution": _resolution,
    "precision": _precision,
    "trigger": _text,
    "class_word": _text,
    "preservation": lambda on: "0.5" if on is True else None,  # there, of every picture both
    **dict.fromkeys(("learning_rate", "alpha", "rank", "epochs", "steps"), _number),
}
