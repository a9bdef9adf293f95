_READ = 'reading = {"13 of 20": "open", "65 of 100": "better", "4 of 20": "worse"}'

ANSWERS = {
    "08.vote": {
        "cell": "# Your votes",
        "name": "votes",
        "facts": {"num_pairs": 20},
        "right": 'votes = ("lrrel" * 4)[: len(hidden)]',
        "right_alone": 'votes = "lrrel" * 4',
        "wrong": {
            "a list": ("votes = ['l'] * 20", "it is a word of l, r and e"),
            "spaces": ("votes = 'l r ' * 5", "it is a word of l, r and e"),
            "some left out": ("votes = 'lrrel'", "there is a letter for each pair"),
            "not looked": ("votes = 'e' * 18 + 'lr'", "most pairs are decided"),
            "always left": ("votes = 'l' * 20", "both sides were chosen at times"),
        },
    },
    "08.interval": {
        "cell": "# Your reading",
        "name": "reading",
        "right": _READ,
        "wrong": {
            "one count": (
                'reading = {"13 of 20": "open"}',
                "each count has one of the three words",
            ),
            "more is better": (_READ.replace("open", "better"), "13 of 20 is read right"),
            "the share alone": (
                _READ.replace('100": "better', '100": "open'),
                "65 of 100 is read right",
            ),
            "losing says nothing": (_READ.replace("worse", "open"), "4 of 20 is read right"),
        },
    },
}
