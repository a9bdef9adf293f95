ANSWERS = {
    "00.time": {
        "cell": "# Your prediction",
        "name": "guess_s",
        "facts": {"measured_s": 25.0, "spent": {"training": 26.0}, "steps": 130},
        "right": "batches = later.length.steps * later.training.accumulation\n"
        "guess_s = spent['training'] / steps * batches",
        "right_alone": "guess_s = 26.0 / 130 * 40 * 3",
        "wrong": {
            "no number": ("guess_s = 'a minute'", "it is a time, in seconds"),
            "a truth value": ("guess_s = True", "it is a time, in seconds"),
            "negative": ("guess_s = -3", "it is a time, in seconds"),
            "all stages counted": ("guess_s = 60.0", "it is near what was measured"),
            "the batches of a step forgotten": (
                "guess_s = 26.0 / 130 * 40",
                "it is near what was measured",
            ),
            "time of a step": ("guess_s = 26.0 / 130", "it is near what was measured"),
        },
    },
}
