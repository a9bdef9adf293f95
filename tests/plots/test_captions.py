from workbench.plots.captions import survival
from workbench.plots.theme import COLOURS


def test_survival_is_in_percent_with_the_first_tag_on_top():
    (bars,) = survival({"mochi": 1.0, "smile": 0.7}, num_draws=200, trigger="mochi").data
    assert (list(bars.y), list(bars.x)) == (["smile", "mochi"], [70, 100])
    assert list(bars.marker.color) == [COLOURS["trained"], COLOURS["held out"]]
