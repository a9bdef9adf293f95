_ADD = """def add_noise(latents, noise, alpha_bar):
    alpha_bar = alpha_bar.view(-1, 1, 1, 1)
    return alpha_bar.sqrt() * latents + (1 - alpha_bar).sqrt() * noise"""

_PYRAMID = """import torch
from torch.nn.functional import interpolate

def pyramid(like, discount, levels, generator):
    total = torch.zeros_like(like)
    for k in range(levels):
        side = [max(1, one // 2**k) for one in like.shape[2:]]
        coarse = torch.randn(*like.shape[:2], *side, generator=generator)
        large = interpolate(coarse, size=tuple(like.shape[2:]), mode="bilinear")
        total = total + discount**k * large
    return total / total.std(dim=(1, 2, 3), keepdim=True)"""

ANSWERS = {
    "03.add_noise": {
        "cell": "# Your add_noise",
        "name": "add_noise",
        "right": _ADD,
        "wrong": {
            "nothing returned": (
                _ADD.replace("return ", "made = "),
                "it returns latents of the same shape",
            ),
            "shares swapped": (
                _ADD.replace("* latents", "* NOISE")
                .replace("* noise", "* latents")
                .replace("NOISE", "noise"),
                "alpha_bar = 1 leaves the picture alone, 0 leaves noise alone",
            ),
            "no square roots": (
                _ADD.replace(".sqrt()", ""),
                "unit variance in, unit variance out",
            ),
            "one alpha_bar for all": (
                _ADD.replace("alpha_bar.view(-1, 1, 1, 1)", "alpha_bar.mean()"),
                "every sample has its own alpha_bar",
            ),
            "alpha_bar not spread": (
                "def add_noise(latents, noise, alpha_bar):\n"
                "    return alpha_bar.sqrt() * latents + (1 - alpha_bar).sqrt() * noise",
                "it returns latents of the same shape",
            ),
        },
    },
    "03.pyramid": {
        "cell": "# Your pyramid",
        "name": "pyramid",
        "right": _PYRAMID,
        "wrong": {
            "nothing returned": (
                _PYRAMID.replace("return ", "made = "),
                "it returns noise of the shape of `like`",
            ),
            "generator left out": (
                _PYRAMID.replace(", generator=generator)", ")"),
                "the same seed gives the same noise",
            ),
            "coarse from the start": (
                _PYRAMID.replace("// 2**k", "// 2**(k + 1)"),
                "one level is white noise",
            ),
            "levels not weighted": (
                _PYRAMID.replace("discount**k * large", "0 * large if k else large"),
                "long waves gain, the more so the higher the discount",
            ),
            "coarse in place of fine": (
                _PYRAMID.replace("total + ", "total + (k > 0 or levels == 1) * "),
                "short waves stay",
            ),
            "divided by the batch's deviation": (
                _PYRAMID.replace("dim=(1, 2, 3), keepdim=True", ""),
                "every sample has a deviation of 1 by itself",
            ),
            "not brought back": (
                _PYRAMID.replace(" / total.std(dim=(1, 2, 3), keepdim=True)", ""),
                "every sample has a deviation of 1 by itself",
            ),
        },
    },
    "03.offset": {
        "cell": "# Your strengths",
        "name": "strengths",
        "right": "ratio = 0.0046600985 / (1 - 0.0046600985)\n"
        "strengths = {n: (ratio / 0.1 - 1 / n**2) ** 0.5 for n in (16, 64, 128)}",
        "wrong": {
            "one number": ("strengths = 0.2", "there is a strength for each of the three sides"),
            "more for a smaller field": (
                "strengths = {16: 0.4, 64: 0.2164, 128: 0.2164}",
                "on 16 x 16 it leaves 0.1, 2 % more or less",
            ),
            "1 / N left out": (
                "strengths = dict.fromkeys((16, 64, 128), 0.2164)",
                "on 16 x 16 it leaves 0.1, 2 % more or less",
            ),
            "less for a larger field": (
                "strengths = {16: 0.2072, 64: 0.1, 128: 0.05}",
                "on 64 x 64 and 128 x 128 it leaves 0.1, 2 % more or less",
            ),
        },
    },
}
