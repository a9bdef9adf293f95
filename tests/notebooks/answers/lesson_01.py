_IMPORT = "from workbench.data.captions import CaptionSettings\n"

ANSWERS = {
    "01.dropout": {
        "cell": "# Your answer",
        "name": "yours",
        "right": _IMPORT + "yours = CaptionSettings(keep_tokens=1, tag_dropout=0.3, shuffle=True)",
        "wrong": {
            "a dict": ("yours = {'tag_dropout': 0.3}", "they are settings"),
            "trigger not kept": (
                _IMPORT + "yours = CaptionSettings(tag_dropout=0.3, shuffle=True)",
                "the trigger is in every draw",
            ),
            "whole captions dropped": (
                _IMPORT + "yours = CaptionSettings(keep_tokens=1, caption_dropout=0.3)",
                "the trigger is in every draw",
            ),
            "share left out for share kept": (
                _IMPORT + "yours = CaptionSettings(keep_tokens=1, tag_dropout=0.7, shuffle=True)",
                "every other tag is in 70 % of the draws, 3 more or less",
            ),
            "too many kept": (
                _IMPORT + "yours = CaptionSettings(keep_tokens=2, tag_dropout=0.3, shuffle=True)",
                "every other tag is in 70 % of the draws, 3 more or less",
            ),
            "not shuffled": (
                _IMPORT + "yours = CaptionSettings(keep_tokens=1, tag_dropout=0.3)",
                "the others' order is new each time",
            ),
        },
    },
}
