_RIGHT = """def forward(x, weight, down, up, alpha):
    return x @ weight.T + alpha / down.shape[0] * (x @ down.T @ up.T)"""
_SHAPE = "it returns one row of outputs for each input"
_BASE = "with B at zero it is the base's layer"
_ALPHA = "twice the alpha, twice the change"
_THIN = "nothing as large as W is computed on the way"
_MERGED = "it is what the merged layer x (W + dW) gives"

ANSWERS = {
    "05.forward": {
        "cell": "# Your forward",
        "name": "forward",
        "right": _RIGHT,
        "wrong": {
            "nothing returned": (_RIGHT.replace("return ", "made = "), _SHAPE),
            "outputs in columns": (_RIGHT.replace("return ", "return (").rstrip() + ").T", _SHAPE),
            "not transposed": (_RIGHT.replace("weight.T", "weight"), _SHAPE),
            "base left out": (_RIGHT.replace("x @ weight.T + ", ""), _BASE),
            "alpha on everything": (
                _RIGHT.replace("x @ weight.T + alpha", "alpha / 3 * x @ weight.T + alpha"),
                _ALPHA,
            ),
            "alpha left out": (_RIGHT.replace("alpha / down.shape[0] * ", ""), _ALPHA),
            "not divided by the rank": (_RIGHT.replace(" / down.shape[0]", ""), _MERGED),
            "the change is built": (
                _RIGHT.replace("(x @ down.T @ up.T)", "(x @ (up @ down).T)"),
                _THIN,
            ),
            "the merged weight is built": (
                "def forward(x, weight, down, up, alpha):\n"
                "    return x @ (weight + alpha / down.shape[0] * up @ down).T",
                _THIN,
            ),
            "divided by the inputs": (_RIGHT.replace("shape[0]", "shape[1]"), _MERGED),
        },
    },
}
