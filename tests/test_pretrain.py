import random

import pytest
import torch
from torch import nn

from workbench import store
from workbench.critters import BASE, compression, world
from workbench.critters.architecture import load_clip
from workbench.critters.attributes import caption, tags, words_of
from workbench.critters.contrastive import PictureTeacher
from workbench.critters.judge import Judge
from workbench.critters.measure import short_prompt, shuffled, unseen
from workbench.critters.vocabulary import build_tokenizer
from workbench.pretrain import fitting, stages
from workbench.pretrain.__main__ import main
from workbench.pretrain.bars import character_prompts


def _line(folder, minutes, calls):
    """Fit a line's slope to 3; every call of the loss is counted."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)

    def loss_of(step):
        calls.append(step)
        if len(calls) == 40 and minutes > 1:
            raise KeyboardInterrupt
        return (model(torch.ones(1, 1)) - 3).square().mean()

    steps = list(fitting.fit(model, loss_of, folder, minutes=minutes, learning_rate=0.1))
    return model.weight.item(), steps


def test_fit_learns_within_its_time(tmp_path):
    slope, steps = _line(tmp_path, 0.02, [])
    assert slope == pytest.approx(3, abs=0.05)
    assert steps[0][0] == 100 and steps[-1][1] < steps[0][1]


def test_fit_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "SAVE_EVERY_S", 0)
    calls: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        _line(tmp_path, 5, calls)
    saved = store.load_tensors(tmp_path / "checkpoint.safetensors")
    assert saved["progress.step"].item() == 39
    assert saved["optimizer.0.step"].item() == 39
    calls.clear()
    elapsed_min = saved["progress.elapsed_s"].item() / 60
    _line(tmp_path, elapsed_min + 0.005, calls)
    assert calls[0] == 39


def test_pictures_in_memory_are_those_of_the_world():
    pixels, captions = stages.draw_pictures(3)
    picture, text = world(stages.TRAINING_WORLD, 2, stages.SQUARE)
    assert pixels.shape == (3, 3, 128, 128) and captions[2] == text
    assert bytes(pixels[2].permute(1, 2, 0).contiguous().numpy()) == picture.tobytes()


def test_what_is_measured_is_not_trained_on():
    worlds = {stages.TRAINING_WORLD, stages.DECODER_WORLD}
    assert stages.HELD_OUT_WORLD not in worlds


def test_reconstruction_loss_counts_edges_again():
    target = torch.zeros(1, 3, 4, 4)
    flat, edge = torch.full_like(target, 0.5), torch.zeros_like(target)
    edge[..., 2:] = 1.0
    # Half of the pixels are off by one: L1 0.5, L2 0.5, and one column of differences in three.
    assert compression.reconstruction_loss(flat, target).item() == pytest.approx(0.5 + 0.25)
    expected = 0.5 + 0.5 + 0.5 * (1 / 3)
    assert compression.reconstruction_loss(edge, target).item() == pytest.approx(expected)


def test_crops_are_the_same_for_the_same_step():
    pixels, _ = stages.draw_pictures(4)
    first, again = (
        compression.random_crops(pixels, torch.Generator().manual_seed(5), batch=6, side=64)
        for _ in range(2)
    )
    assert first.shape == (6, 3, 64, 64) and torch.equal(first, again)
    assert first.min() >= -1 and first.max() <= 1


def test_shifted_pictures_move_whole_and_keep_their_size():
    pixels = torch.arange(40.0 * 40).view(1, 1, 40, 40)
    seen = set()
    for seed in range(20):
        moved = stages.shifted(pixels, torch.Generator().manual_seed(seed), most_px=2)
        assert moved.shape == pixels.shape
        down, right = divmod(moved[0, 0, 20, 20].item() - pixels[0, 0, 20, 20].item(), 40)
        if right > 20:
            down, right = down + 1, right - 40
        assert abs(down) <= 2 and abs(right) <= 2
        inside = moved[0, 0, 2:38, 2:38]
        expected = pixels[0, 0, 2:38, 2:38] + 40 * down + right
        assert torch.equal(inside, expected)
        seen.add((down, right))
    assert len(seen) > 10


def test_the_picture_half_learns_while_the_text_half_stays():
    clip, judge = load_clip(BASE), Judge().eval()
    pixels, captions = stages.draw_pictures(4)
    shown = compression.to_signed(pixels)
    features = judge.features(shown)
    assert features.shape == (4, 64, 8, 8)
    teacher = PictureTeacher(clip, build_tokenizer(), features)
    trained = {name for name, weight in teacher.named_parameters() if weight.requires_grad}
    expected = ("clip.vision_model.", "clip.visual_projection.", "read.")
    assert trained and all(name.startswith(expected) for name in trained)
    weights = [weight for weight in teacher.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=1e-3)
    losses = []
    for _ in range(3):
        loss = teacher(shown, features, captions=captions, rng=random.Random(0))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)


def test_a_stage_needs_a_folder(capsys):
    with pytest.raises(SystemExit):
        main(["vision"])
    assert "a stage needs --out FOLDER" in capsys.readouterr().err


def test_prompts_of_few_tags_name_what_they_ask():
    wanted = unseen(8)
    rng = random.Random(3)
    for each in wanted:
        text, names = short_prompt(each, rng)
        assert 3 <= len(names) <= 5
        assert set(text.split(", ")) == {"critter", *(words_of(each)[name] for name in names)}
        assert sorted(shuffled(caption(each), rng).split(", ")) == sorted(tags(each))


def test_the_character_is_asked_for_with_and_without_its_trigger():
    with_trigger, without = character_prompts(4)
    assert all(text.startswith("mochi, critter, ") for text in with_trigger)
    assert not any("mochi" in text for text in without)
