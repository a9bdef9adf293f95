"""What the user sees is ours: keep the libraries' own chatter off the terminal and out of cells.

Each library is asked through its own switches, and warnings are dropped by category and module,
never by swallowing a stream: whatever is not listed here still shows. What in that chatter matters
to a user (a missing library, a truncated prompt, a file that does not fit) is found and said by
the code that meets it.
"""

import logging
import os
import sys
import warnings

# Read by the libraries when they are imported; a value that the user has set wins.
SWITCHES = {
    "TRANSFORMERS_VERBOSITY": "error",  # torchvision is missing, token ids of tiny models
    "DIFFUSERS_VERBOSITY": "error",  # outdated scheduler files, "No LoRA keys associated to ..."
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # "Loading weights", "Writing model shards"
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "TOKENIZERS_PARALLELISM": "false",  # otherwise a note at every fork; captions are short
}

# Libraries whose logger says only what has no consequence here below this level.
LOGGERS = {
    "bitsandbytes": logging.ERROR,  # the optional `kernels` package is missing
    "accelerate": logging.ERROR,
    "peft": logging.ERROR,
    "torch.distributed": logging.ERROR,  # no redirects on this platform
    "httpx": logging.WARNING,  # a line a request
    "PIL": logging.WARNING,  # metadata it cannot read
}

_HUGGING_FACE = r"(diffusers|transformers|peft|accelerate|huggingface_hub|bitsandbytes)(\.|$)"
_ALL = r"(torch|prodigyopt|gradio|starlette|PIL|" + _HUGGING_FACE[1:]

# (category, module that is to blame as a regular expression, beginning of the message)
IGNORED = (
    (DeprecationWarning, _ALL, ""),
    (PendingDeprecationWarning, _ALL, ""),
    (FutureWarning, _ALL, ""),
    (UserWarning, _HUGGING_FACE, ""),
    # Palettes and broken metadata: the index notes what it did to each image.
    (UserWarning, r"PIL\.", ""),
    # No GPU: `doctor` and the run's first lines say which device is used.
    (UserWarning, r"torch\.", r".*(pin_memory|Can't initialize NVML|CUDA is not available)"),
)


def hush() -> None:
    """Ask the libraries for silence; call it before they are imported, or again afterwards.

    It imports nothing, costs less than a millisecond and may be called any number of times.
    """
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
    for name, level in LOGGERS.items():
        logging.getLogger(name).setLevel(level)
    for category, module, message in IGNORED:
        warnings.filterwarnings("ignore", message=message, category=category, module=module)
    for name in ("transformers", "diffusers"):
        _hush_imported(name)


def _hush_imported(name: str) -> None:
    """Reach what the environment cannot: a library imported earlier, and diffusers' loading bar."""
    library_logging = sys.modules.get(f"{name}.utils.logging")
    if library_logging is not None:
        if os.environ[f"{name.upper()}_VERBOSITY"] == "error":
            library_logging.set_verbosity_error()
        library_logging.disable_progress_bar()
