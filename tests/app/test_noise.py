"""The tab Noise: what a control changes reaches the noise, and only what changed is drawn anew."""

import gradio as gr
import pytest

from workbench import settings
from workbench.app import noise
from workbench.app.noise_study import named, studied
from workbench.diffusion.noise import Gaussian, Offset, Pyramid
from workbench.recipe import Recipe
from workbench.settings import walk


def test_every_choice_is_a_noise():
    recipe = Recipe.preset("critters")
    for _, choice in noise._choices():
        chosen, made_anew, use = noise._chosen(choice, recipe, 3)
        assert (chosen is None) == (choice == noise.NOTHING) == (not use.visible)
        assert made_anew == 4


def test_a_control_changes_its_setting_or_says_why_not():
    entries = {entry.path: entry for entry in walk(noise._Slot(noise=Offset()))}
    changed, made_anew, _ = noise._changed(entries["noise.strength"], Offset(), 0, 0.25)
    assert changed == Offset(strength=0.25) and made_anew == gr.skip()
    changed, made_anew, _ = noise._changed(entries["noise.base.kind"], Offset(), 0, "pyramid")
    assert changed == Offset(base=Pyramid()) and made_anew == 1
    changed, _, below = noise._changed(entries["noise.strength"], Offset(), 0, 7)
    assert changed == gr.skip() and "noise.strength must be" in below.value


def test_only_what_changed_is_drawn_anew():
    first = noise.show(Gaussian(), None, None, None, None)
    assert "white" in [trace.name.split(": ")[-1] for trace in first[4].data if trace.name]
    same = noise.show(Gaussian(), None, None, None, first[-1])
    assert same == tuple(gr.skip() for _ in range(9))
    other = noise.show(Gaussian(), Pyramid(), None, None, first[-1])
    assert other[0] == gr.skip() and other[1].count("<img") == 3
    assert "2: pyramid" in other[7] and "as published" in other[7]


def test_a_noise_is_measured_once_and_named_by_its_column():
    assert studied(Gaussian(), 2) is studied(Gaussian(), 2)
    assert studied(Gaussian(), 2).name == f"3: {named(Gaussian())}" == "3: white"


@pytest.mark.parametrize("chosen", [Pyramid(discount=0.4), Offset()])
def test_a_noise_is_taken_into_the_recipe(chosen, monkeypatch):
    monkeypatch.setattr(gr, "Info", lambda *args, **kwargs: None)
    recipe = Recipe.preset("critters")
    assert noise._take(recipe, chosen) == settings.replace(recipe, noise=chosen)
