"""Captions of several windows through training, caches, metadata and samples."""

import numpy as np
import torch
from tiny_recipes import assembled

from workbench import store
from workbench.models.base import BaseSettings
from workbench.models.loading import load
from workbench.records.sampling import SampleSettings, draw
from workbench.training.run import Run

WIDE = "data.captions.max_tokens=150"


def test_a_run_trains_caches_samples_and_names_its_windows(recipe, tmp_path):
    long = "data.subsets.0.trigger=" + "z " * 90
    narrow, wide = assembled(recipe(long)), assembled(recipe(long, WIDE))
    for trainer, length in ((narrow, 77), (wide, 152)):
        micro = trainer.loader.step(0).micro_batches[0]
        batch = trainer.batches.make(micro, step=0)
        assert batch.text["hidden"].shape[1] == length
        with torch.no_grad():
            live = trainer.family.collate(trainer.family.encode_text(list(batch.captions)))
        torch.testing.assert_close(batch.text["hidden"], live["hidden"])
    assert narrow.family.text_key != wide.family.text_key, "caches must not be shared"
    run = Run(recipe(long, WIDE, "length.steps=2"), tmp_path / "run")
    assert list(run.train())[-1].event == "finished"
    metadata, _ = store.read_header(run.final_lora)
    assert metadata["ss_max_token_length"] == "150"


def test_words_beyond_the_75th_token_change_the_picture():
    """Whatever the last 125 of 200 tokens say, one window draws the same."""
    settings = SampleSettings(steps=4, guidance=4.0, width=64, height=64)
    start = "critter, " * 38  # two tokens each
    prompts = [start + "red body, " * 41, start + "blue body, " * 41]
    pictures = {}
    for max_tokens in (75, 225):
        family = load(BaseSettings(path="critters"), max_tokens=max_tokens)
        assert 195 <= family.count_tokens(prompts[0]) <= 205
        drawn = draw(family, settings, [(prompt, 5) for prompt in prompts])
        pictures[max_tokens] = [np.asarray(one.image, dtype=float) for one in drawn]
    one, three = pictures[75], pictures[225]
    assert np.array_equal(one[0], one[1])
    assert np.abs(three[0] - three[1]).mean() > 3  # of 255 levels
