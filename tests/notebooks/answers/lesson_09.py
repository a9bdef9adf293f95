_RIGHT = 'yours = {"zero": 1, "other": 1.25, "half": 0.25, "offset": 1.25}'

ANSWERS = {
    "09.explain": {
        "cell": "# Your answer",
        "name": "yours",
        "right": _RIGHT,
        "wrong": {
            "one number": ("yours = 1.0", "there are four numbers with the four names"),
            "knowing nothing is free": (
                _RIGHT.replace('"zero": 1,', '"zero": 0,'),
                "always answering 0 is priced right",
            ),
            "unrelated noises cancel": (
                _RIGHT.replace('"other": 1.25', '"other": 0.75'),
                "an unrelated answer is priced right",
            ),
            "not squared": (
                _RIGHT.replace('"half": 0.25', '"half": 0.5'),
                "half of the truth is priced right",
            ),
            "deviation for variance": (
                _RIGHT.replace('"offset": 1.25', '"offset": 1.5'),
                "answering 0 to noise with an offset is priced right",
            ),
        },
    },
}
