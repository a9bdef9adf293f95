"""What libraries print about themselves must not reach the user; what we did not foresee must."""

import subprocess
import sys
import textwrap
from pathlib import Path

from workbench import quiet


def run(code: str) -> str:
    """Everything that a fresh process writes, as a terminal would show it."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_libraries_load_and_draw_in_silence(tiny_sd: Path):
    assert (
        run(f"""
            from workbench.quiet import hush
            hush()
            import accelerate, bitsandbytes, diffusers, peft, prodigyopt, torch, transformers
            from bitsandbytes.optim import AdamW8bit
            from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
            hush()
            pipeline = StableDiffusionPipeline.from_pretrained({str(tiny_sd)!r})
            pipeline.scheduler = DDIMScheduler()
            pipeline.set_progress_bar_config(disable=True)
            pipeline("a " * 100, num_inference_steps=2, height=64, width=64)
        """)
        == ""
    )


def test_a_library_imported_earlier_falls_silent_too():
    assert (
        run("""
            import transformers.utils.logging as logging
            from workbench.quiet import hush
            hush()
            logging.get_logger("transformers").warning("chatter")
            for _ in logging.tqdm(range(3)):
                pass
        """)
        == ""
    )


def test_errors_and_other_peoples_warnings_still_show():
    output = run("""
        from workbench.quiet import hush
        hush()
        import logging, warnings
        warnings.warn("mine", stacklevel=1)
        warnings.warn_explicit("of torch", UserWarning, "torch/nn/x.py", 1, module="torch.nn.x")
        logging.getLogger("peft").error("broken")
        logging.getLogger("elsewhere").warning("look")
    """)
    assert [word in output for word in ("mine", "of torch", "broken", "look")] == [True] * 4


def test_deprecations_of_libraries_are_dropped():
    output = run("""
        from workbench.quiet import hush
        hush()
        import warnings
        for name in ("diffusers.x", "torch.optim.y", "transformers", "PIL.Image"):
            warnings.warn_explicit("old", FutureWarning, name, 1, module=name)
            warnings.warn_explicit("old", DeprecationWarning, name, 2, module=name)
    """)
    assert output == ""


def test_what_the_user_set_wins(monkeypatch):
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "info")
    quiet.hush()
    import os

    assert os.environ["TRANSFORMERS_VERBOSITY"] == "info"
