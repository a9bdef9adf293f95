import random

import pytest
import torch

from workbench.critters import all_tags, contrastive
from workbench.critters.contrastive import contrastive_loss, multi_hot, tag_loss, thin_caption


def test_groups_hold_every_tag_but_the_optional_ones():
    grouped = {tag for group in contrastive.TAG_GROUPS.values() for tag in group}
    assert set(all_tags()) - grouped == {"critter", "small", "big", "left", "right"}


def test_thinned_captions_keep_some_of_the_tags():
    whole = "critter, blue body, smile, crown"
    thinned = [thin_caption(whole, random.Random(seed)) for seed in range(300)]
    assert all(set(text.split(", ")) <= {*whole.split(", "), ""} for text in thinned)
    assert "" in thinned and len(set(thinned)) > 20


def test_a_caption_is_right_for_every_picture_it_describes():
    shown = multi_hot(["critter, blue body, smile", "critter, blue body, frown"])
    said = multi_hot(["blue body", "frown"])
    # Picture 0 fits caption 0 alone; picture 1 fits both, half each.
    expected_by_picture = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    expected_by_caption = torch.tensor([[0.5, 0.0], [0.5, 1.0]])
    logits = torch.tensor([[2.0, -1.0], [0.3, 0.9]])
    by_picture = -(expected_by_picture * logits.log_softmax(1)).sum(1).mean()
    by_caption = -(expected_by_caption * logits.log_softmax(0)).sum(0).mean()
    loss = contrastive_loss(logits, shown, said)
    assert loss.item() == pytest.approx((by_picture + by_caption).item() / 2, rel=1e-6)


def test_tag_loss_is_chance_without_knowledge_and_nothing_with_it():
    text = (
        "critter, blue body, star body, no ears, one eye, frown, stripes, sunset, "
        "peach background, crown"
    )
    shown = multi_hot([text])
    sizes = torch.tensor([float(len(group)) for group in contrastive.TAG_GROUPS.values()])
    assert tag_loss(torch.zeros_like(shown), shown).item() == pytest.approx(sizes.log().mean())
    assert tag_loss(100 * shown, shown).item() == pytest.approx(0, abs=1e-6)
