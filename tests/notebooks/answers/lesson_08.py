_READ = 'reading = {"14 of 20": "open", "70 of 100": "better", "3 of 20": "worse"}'

ANSWERS = {
    "08.vote": {
        "cell": "# Your votes",
        "name": "votes",
        "facts": {"num_pairs": 24, "controls": {2: "l", 9: "l", 13: "r", 20: "l"}},
        "right": 'votes = "".join(controls.get(k, "lr"[k % 2]) for k in range(len(hidden)))',
        "right_alone": 'votes = "lrllrelrelrrlrlrerlrlrre"',
        "wrong": {
            "a list": ("votes = ['l'] * 24", "it is a word of l, r and e"),
            "spaces": ("votes = 'l r ' * 6", "it is a word of l, r and e"),
            "some left out": ("votes = 'lrrel'", "there is a letter for each pair"),
            "not looked": ("votes = 'e' * 22 + 'lr'", "most pairs are decided"),
            "always left": ("votes = 'l' * 24", "both sides were chosen at times"),
            "a pattern": ("votes = ('lrrel' * 5)[:24]", "no blurred picture was chosen"),
        },
    },
    "08.interval": {
        "cell": "# Your reading",
        "name": "reading",
        "right": _READ,
        "wrong": {
            "one count": (
                'reading = {"14 of 20": "open"}',
                "each count has one of the three words",
            ),
            "more is better": (_READ.replace("open", "better"), "14 of 20 is read right"),
            "the share alone": (
                _READ.replace('100": "better', '100": "open'),
                "70 of 100 is read right",
            ),
            "losing says nothing": (_READ.replace("worse", "open"), "3 of 20 is read right"),
        },
    },
}
