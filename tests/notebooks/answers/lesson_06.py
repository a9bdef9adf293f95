_RIGHT = 'yours = {"A": "rate too high", "B": "d stuck", "C": "healthy", "D": "rate too low"}'


def _swapped(one: str, other: str) -> str:
    return _RIGHT.replace(one, "X").replace(other, one).replace("X", other)


ANSWERS = {
    "06.diagnose": {
        "cell": "# Your answer",
        "name": "yours",
        "right": _RIGHT,
        "wrong": {
            "one left out": (
                'yours = {"A": "healthy"}',
                "each of the four runs has one of the four words",
            ),
            "a word of their own": (
                _RIGHT.replace("d stuck", "broken"),
                "each of the four runs has one of the four words",
            ),
            "the furthest is taken for the best": (
                _swapped("rate too high", "healthy"),
                "the healthy run is found",
            ),
            "too high for stuck": (
                _swapped("rate too high", "d stuck"),
                "the run with too high a rate is found",
            ),
            "the still ones mixed up": (
                _swapped("d stuck", "rate too low"),
                "the run whose d is stuck is found",
            ),
            "stuck twice": (
                _RIGHT.replace("rate too low", "d stuck"),
                "the run with too low a rate is found",
            ),
        },
    },
}
