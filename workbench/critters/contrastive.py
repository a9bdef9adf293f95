"""How the small CLIP learns: pictures and captions that belong together come to lie together."""

import random
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPModel, CLIPTokenizer

from workbench.critters import attributes as words
from workbench.critters.vocabulary import END, WORD_END

# Tags that exclude one another; the tagger picks at most one of each group.
TAG_GROUPS: dict[str, tuple[str, ...]] = {
    "colour": tuple(f"{name} body" for name in words.BODY_COLOURS),
    "shape": tuple(f"{name} body" for name in words.SHAPES),
    "ears": tuple(words.EARS.values()),
    "eyes": tuple(words.EYES.values()),
    "mouth": tuple(words.MOUTHS.values()),
    "pattern": tuple(words.PATTERNS.values()),
    "scene": tuple(words.SCENES.values()),
    "background": tuple(f"{name} background" for name in words.BACKGROUND_COLOURS),
    "hat": tuple(words.HATS.values()),
}


@cache
def _tag_index() -> dict[str, int]:
    return {tag: index for index, tag in enumerate(words.all_tags())}


def multi_hot(captions: Sequence[str]) -> Tensor:
    """Mark which tags each caption holds.

    Args:
        captions: tags separated by ", "; may be empty.
    Returns:
        float32 (B, number of tags), 1 where the tag is present.
    """
    index = _tag_index()
    marks = torch.zeros(len(captions), len(index))
    for row, text in enumerate(captions):
        for tag in filter(None, text.split(", ")):
            marks[row, index[tag]] = 1
    return marks


def thin_caption(caption: str, rng: random.Random) -> str:
    """Leave tags out at random and shuffle the rest, so that every tag must be read by itself.

    Args:
        caption: all tags of a picture.
        rng: source of randomness.
    Returns:
        Caption of some of the tags; now and then an empty one, which guidance needs.
    """
    keep = rng.uniform(0.15, 1.0)
    kept = [tag for tag in caption.split(", ") if rng.random() < keep]
    rng.shuffle(kept)
    return "" if rng.random() < 0.02 else ", ".join(kept)


def tokenize(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Tensor:
    """Turn captions into ids, padded to the longest of them.

    Args:
        tokenizer: the base's.
        captions: B captions.
    Returns:
        int64 (B, tokens), at most 77 tokens.
    """
    batch = tokenizer(list(captions), padding=True, truncation=True, return_tensors="pt")
    return batch.input_ids


def embed_pictures(clip: CLIPModel, pixels: Tensor) -> Tensor:
    """Place pictures in the space that they share with captions.

    Args:
        clip: the base's CLIP.
        pixels: (B, 3, 128, 128) in [-1, 1].
    Returns:
        Unit vectors, (B, 128).
    """
    pooled = clip.vision_model(pixel_values=pixels).pooler_output
    return F.normalize(clip.visual_projection(pooled).float(), dim=-1)


def embed_captions(clip: CLIPModel, ids: Tensor) -> Tensor:
    """Place captions in the space that they share with pictures.

    Args:
        clip: the base's CLIP.
        ids: int64 (B, tokens).
    Returns:
        Unit vectors, (B, 128).
    """
    pooled = clip.text_model(input_ids=ids).pooler_output
    return F.normalize(clip.text_projection(pooled).float(), dim=-1)


def contrastive_loss(logits: Tensor, shown: Tensor, said: Tensor) -> Tensor:
    """Score a batch of pictures against a batch of captions.

    Args:
        logits: similarity of picture i and caption j, (B, B).
        shown: tags of the pictures, multi-hot (B, T).
        said: tags of the captions, multi-hot (B, T).
    Returns:
        Scalar.
    Differs: CLIP's loss takes every other caption for wrong. A caption of two tags is right for
        several pictures of a batch, so the target is shared among all pictures that it describes.
    Source: Radford et al. 2021, arXiv 2103.00020, figure 3.
    """
    right = ((1 - shown) @ said.T == 0).float()  # nothing is said that is not shown
    by_picture = right / right.sum(dim=1, keepdim=True)
    by_caption = right / right.sum(dim=0, keepdim=True)
    loss = F.cross_entropy(logits, by_picture) + F.cross_entropy(logits.T, by_caption.T)
    return loss / 2


def tag_loss(logits: Tensor, shown: Tensor) -> Tensor:
    """Score pictures against single tags, one choice within each group of exclusive tags.

    Args:
        logits: similarity of picture i and tag j, (B, T).
        shown: tags of the pictures, multi-hot (B, T).
    Returns:
        Scalar, the mean over groups.
    """
    index = _tag_index()
    losses = []
    for group in TAG_GROUPS.values():
        columns = [index[tag] for tag in group]
        losses.append(F.cross_entropy(logits[:, columns], shown[:, columns].argmax(dim=1)))
    return torch.stack(losses).mean()


@torch.no_grad()
def choose_tags(
    clip: CLIPModel, tokenizer: CLIPTokenizer, pixels: Tensor
) -> list[dict[str, tuple[str, float]]]:
    """Read a picture's tags, the most likely of each group.

    Args:
        clip: the base's CLIP.
        tokenizer: the base's.
        pixels: (B, 3, 128, 128) in [-1, 1].
    Returns:
        For each picture, group name to (tag, probability within its group).
    """
    every = words.all_tags()
    texts = embed_captions(clip, tokenize(tokenizer, every))
    logits = clip.logit_scale.exp() * embed_pictures(clip, pixels) @ texts.T  # (B, T)
    read: list[dict[str, tuple[str, float]]] = [{} for _ in range(len(pixels))]
    for name, group in TAG_GROUPS.items():
        columns = [_tag_index()[tag] for tag in group]
        chances, best = logits[:, columns].softmax(dim=1).max(dim=1)
        for row, (chance, place) in enumerate(zip(chances.tolist(), best.tolist(), strict=True)):
            read[row][name] = (group[place], chance)
    return read


class PictureTeacher(nn.Module):
    """Teaches the picture half towards the text half, which stays as it is.

    Tags alone taught it colours at once and small shapes hardly: after 1,200 steps 71 % of the tags
    were right, ears 38 %. A judge knows where what is to be seen, so here each of CLIP's patches is
    also asked for the judge's features in its place.

    Source: Zhai et al. 2022, "LiT", arXiv 2111.07991: lock one half, teach the other.
    """

    mean: Tensor
    std: Tensor
    tags: Tensor

    def __init__(self, clip: CLIPModel, tokenizer: CLIPTokenizer, features: Tensor) -> None:
        """Lock the text half and embed the tags once.

        Args:
            clip: the base's; its picture half is trained in place.
            tokenizer: the base's.
            features: of some pictures by the judge, (N, F, 8, 8): their mean and spread.
        """
        super().__init__()
        for part in (clip.text_model, clip.text_projection):
            part.requires_grad_(False)
        clip.logit_scale.requires_grad_(False)
        self.clip, self.tokenizer = clip, tokenizer
        self.read = nn.Linear(clip.vision_embed_dim, features.shape[1])
        axes, eps = (0, 2, 3), 1e-3
        self.register_buffer("mean", features.mean(dim=axes, keepdim=True), persistent=False)
        self.register_buffer("std", features.std(dim=axes, keepdim=True) + eps, persistent=False)
        with torch.no_grad():
            tags = embed_captions(clip, tokenize(tokenizer, words.all_tags()))
        self.register_buffer("tags", tags, persistent=False)

    def forward(
        self, pixels: Tensor, features: Tensor, *, captions: Sequence[str], rng: random.Random
    ) -> Tensor:
        """Compute the loss of one batch.

        Args:
            pixels: (B, 3, 128, 128) in [-1, 1].
            features: the judge's of the same pictures, (B, F, 8, 8).
            captions: whole captions, B of them.
            rng: decides what is left out of them.
        Returns:
            Scalar: captions against pictures, tags against pictures, patches against the judge.
        """
        thinned = [thin_caption(text, rng) for text in captions]
        with torch.no_grad():
            texts = embed_captions(self.clip, tokenize(self.tokenizer, thinned))
        output = self.clip.vision_model(pixel_values=pixels)
        pictures = F.normalize(self.clip.visual_projection(output.pooler_output), dim=-1)
        scale, shown = self.clip.logit_scale.exp().clamp(max=100), multi_hot(captions)
        wanted = ((features - self.mean) / self.std).flatten(2).mT  # (B, 64, F)
        return (
            contrastive_loss(scale * pictures @ texts.T, shown, multi_hot(thinned))
            + 2 * tag_loss(scale * pictures @ self.tags.T, shown)
            + 2 * F.smooth_l1_loss(self.read(output.last_hidden_state[:, 1:]), wanted)
        )


class TextTeacher(nn.Module):
    """Teaches the text half by itself, before there is a picture to look at.

    Trained together from nothing, the picture half took long to see more than the background's
    colour, and until then nothing kept the words for body colours apart. Here a table with a vector
    for each tag stands in for the pictures, and each tag must also be known from its last token.
    """

    def __init__(self, clip: CLIPModel) -> None:
        super().__init__()
        num_tags = len(words.all_tags())
        self.clip = clip
        self.pictures = nn.Linear(num_tags, clip.text_projection.out_features, bias=False)
        self.read = nn.Linear(clip.text_embed_dim, num_tags)

    def forward(
        self, tokenizer: CLIPTokenizer, captions: Sequence[str], rng: random.Random
    ) -> Tensor:
        """Compute the loss of one batch.

        Args:
            tokenizer: the base's.
            captions: whole captions, B of them.
            rng: decides what is left out of them.
        Returns:
            Scalar: captions against pictures, tags against pictures, tokens against tags.
        """
        thinned = [thin_caption(text, rng) for text in captions]
        ids = tokenize(tokenizer, [*thinned, *words.all_tags()])
        output = self.clip.text_model(input_ids=ids)
        texts = F.normalize(self.clip.text_projection(output.pooler_output), dim=-1)
        whole, single = texts.split([len(thinned), len(words.all_tags())])
        shown = multi_hot(captions)
        scale = self.clip.logit_scale.exp().clamp(max=100)
        logits = scale * F.normalize(self.pictures(shown), dim=-1) @ texts.T
        by_caption, by_tag = logits.split([len(whole), len(single)], dim=1)
        loss = contrastive_loss(by_caption, shown, multi_hot(thinned)) + tag_loss(by_tag, shown)
        return loss + self._token_loss(output.last_hidden_state, ids, thinned, tokenizer)

    def _token_loss(
        self, hidden: Tensor, ids: Tensor, captions: Sequence[str], tokenizer: CLIPTokenizer
    ) -> Tensor:
        """Ask each tag's last token, the one before a comma or the end, which tag it closes."""
        comma, end = (tokenizer.get_vocab()[token] for token in (f",{WORD_END}", END))
        rows = ids[: len(captions)]
        closes = rows.eq(comma) | rows.eq(end)
        # The first end token closes the last tag; those after it only pad.
        first_end = rows.eq(end).int().argmax(dim=1, keepdim=True)
        closes &= torch.arange(rows.shape[1]) <= first_end
        closes &= first_end > 1  # an empty caption has no tag
        said = [_tag_index()[tag] for text in captions for tag in text.split(", ") if tag]
        last = hidden[: len(captions), :-1][closes[:, 1:]]
        return F.cross_entropy(self.read(last), torch.tensor(said))
