_SUM = """
def mean(own):
    return sum(w * x for w, x in zip(own, losses)) / len(losses)
"""
_RIGHT = _SUM + 'yours = ("p2", mean(weights["p2"]) / mean(weights["constant"]))'
# Loss and weights in three ranges: the loss lies at the clean end, and p2 has no eye for it.
_FACTS = {
    "losses": [0.3, 0.1, 0.02],
    "weights": {
        "constant": [1.0, 1.0, 1.0],
        "min_snr": [0.5, 1.0, 1.0],
        "debiased": [0.2, 1.0, 8.0],
        "p2": [0.1, 0.6, 1.0],
    },
}
_GIVEN = "".join(f"{name} = {value!r}\n" for name, value in _FACTS.items())
_WORDS = {
    "pair": "it is the name of a weighting, and a number",
    "lowest": "no other curve runs lower",
    "ratio": "the number is its mean loss over that of constant, 3 % more or less",
}

ANSWERS = {
    "04.lower_curve": {
        "cell": "# Your answer",
        "name": "yours",
        "facts": _FACTS,
        "right": _RIGHT,
        "right_alone": _GIVEN + _RIGHT,
        "wrong": {
            "a name alone": ("yours = 'p2'", _WORDS["pair"]),
            "no such weighting": ("yours = ('huber', 0.5)", _WORDS["pair"]),
            "the one that turns noise up": ("yours = ('debiased', 0.76)", _WORDS["lowest"]),
            "the best known one": ("yours = ('min_snr', 0.64)", _WORDS["lowest"]),
            "mean of the weights alone": (
                _GIVEN + "yours = ('p2', sum(weights['p2']) / 3)",
                _WORDS["ratio"],
            ),
            "upside down": (
                _GIVEN + _SUM + "yours = ('p2', mean(weights['constant']) / mean(weights['p2']))",
                _WORDS["ratio"],
            ),
        },
    },
}
