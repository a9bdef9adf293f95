from workbench.plots.captions import survival
from workbench.plots.theme import COLOURS
from workbench.plots.together import together


def test_survival_is_in_percent_with_the_first_tag_on_top():
    (bars,) = survival({"mochi": 1.0, "smile": 0.7}, num_draws=200, trigger="mochi").data
    assert (list(bars.y), list(bars.x)) == (["smile", "mochi"], [70, 100])
    assert list(bars.marker.color) == [COLOURS["trained"], COLOURS["held out"]]


def test_tags_together_are_shares_of_the_rarer():
    counts = {"smile": 4, "hat": 2}
    (square,) = together(["smile", "hat"], counts, {("hat", "smile"): 1}).data
    assert [list(row) for row in square.z] == [[None, 50], [50, None]]
