_RIGHT = """assigned = {
    (1200, 800): (640, 384),
    (1000, 1000): (512, 512),
    (1080, 1920): (384, 640),
    (800, 900): (512, 512),
    (1400, 500): (832, 256),
    (2400, 400): (1024, 256),
}"""

ANSWERS = {
    "02.assign": {
        "cell": "# Your answer",
        "name": "assigned",
        "right": _RIGHT,
        "wrong": {
            "a list": ("assigned = [(640, 384)]", "every picture has a bucket"),
            "one forgotten": (
                _RIGHT + "\ndel assigned[800, 900]",
                "every picture has a bucket",
            ),
            "no multiple of 64": (
                _RIGHT.replace("(640, 384)", "(627, 418)"),
                "they are buckets of the table",
            ),
            "sides swapped": (
                _RIGHT.replace("(384, 640)", "(640, 384)"),
                "wide stays wide, tall stays tall",
            ),
            "nearest by difference": (
                _RIGHT.replace("(800, 900): (512, 512)", "(800, 900): (448, 576)"),
                "each is the nearest in shape",
            ),
            "squares only": (
                _RIGHT.replace("(1024, 256)", "(512, 512)"),
                "each is the nearest in shape",
            ),
        },
    },
}
