"""One declaration, and what is made of it: TOML and back, overrides, errors that can be read."""

import copy
import pickle
from typing import Annotated, Literal

import pytest
from pydantic import Field, model_validator

from workbench.settings import (
    Settings,
    SettingsError,
    as_dict,
    from_dict,
    from_toml,
    override,
    replace,
    setting,
    to_toml,
)


class Step(Settings):
    kind: Literal["step"] = "step"
    size: float = setting(1e-6, gt=0, help="how far")


class Jump(Settings):
    kind: Literal["jump"] = "jump"
    height: int = setting(1, help="how high")


class Walk(Settings):
    kind: Literal["walk"] = "walk"
    rank: int = setting(4, ge=1, le=128, unit="legs", help="number # of\nlegs")


class Dance(Settings):
    kind: Literal["dance"] = "dance"
    rank: int = setting(2, ge=1, help="number of dancers")
    first: Annotated[Step | Jump, Field(discriminator="kind")] = setting(Step(), help="first move")


Move = Annotated[Walk | Dance, Field(discriminator="kind")]


class Place(Settings):
    path: str = setting(help="folder of images")
    repeats: int = setting(1, ge=1, help="times")


class Span(Settings):
    low: int = setting(0, help="low end")
    high: int = setting(1, help="high end")

    @model_validator(mode="after")
    def _ordered(self):
        if self.low > self.high:
            raise ValueError(f"low must be at most high, got {self.low} and {self.high}")
        return self


class Trip(Settings):
    name: str = setting("trip", pattern=r"^[a-z0-9]+$", help="letters and digits")
    move: Move = setting(Walk(), help="how to move")
    extra: Move | None = setting(None, help="another")
    places: tuple[Place, ...] = setting((), help="where")
    moves: tuple[Move, ...] = setting((), help="more")
    span: Span | None = setting(Span(), help="a span")
    rate: float = setting(1e-4, gt=0, le=1, help="speed")
    steps: int | None = setting(None, ge=1, help="how many")
    clip: float | None = setting(1.0, gt=0, help="limit")
    flag: bool = setting(False, help="a flag")
    words: tuple[str, ...] = setting((), help="words")
    size: tuple[int, int] = setting((512, 256), help="sides")
    spacing: Literal["none", "even"] | None = setting("even", help="spacing")
    text: str = setting("", help="any text")
    auto: Literal["auto"] | int = setting("auto", help="a number or auto")


ODD_TEXTS = [
    *('a"b', "a'b", '"""', "'''", "a\nb", "a\r\nb", "tab\t", "é 日本 🦊", "a # b", "\\n\\", ""),
    *("\x00\x01\x7f", "\u2028", " lead ", "none", "true", "5"),
]
TREES = [
    Trip(),
    Trip(span=None, clip=None),
    Trip(move=Dance(first=Jump(height=7)), extra=Dance()),
    Trip(moves=(Walk(rank=2), Dance(first=Jump()), Walk()), places=(Place(path="x"),) * 2),
    Trip(words=tuple(f'word {i} # "' for i in range(20)), size=(1, 2), auto=3, flag=True),
    Trip(spacing="none", steps=10**25),
    *(Trip(rate=rate) for rate in (1e-6, 1.5e-7, 5e-324, 1.0, 0.1 + 0.2)),
    *(Trip(clip=clip) for clip in (1e22, 1e16, 3.0)),
    *(Trip(text=x, words=(x, "z"), places=(Place(path=x),)) for x in ODD_TEXTS),
]


@pytest.mark.parametrize("comments", [True, False])
@pytest.mark.parametrize("trip", TREES, ids=range(len(TREES)))
def test_toml_reads_back_equal(trip, comments):
    assert from_toml(Trip, to_toml(trip, comments=comments)) == trip
    assert from_dict(Trip, as_dict(trip)) == trip


def test_toml_explains_each_setting_and_says_the_kind_first():
    assert to_toml(Trip(clip=None)).startswith('name = "trip" # letters and digits\n')
    assert 'clip = "none" # limit (> 0)' in to_toml(Trip(clip=None))
    assert 'kind = "walk"\nrank = 4 # number # of legs (legs, in [1, 128])' in to_toml(Trip())


def test_frozen_copied_and_pickled():
    trip = Trip(move=Dance())
    assert pickle.loads(pickle.dumps(trip)) == copy.deepcopy(trip) == trip  # noqa: S301
    with pytest.raises(SettingsError, match="rate cannot be changed in place"):
        trip.rate = 1.0
    assert replace(trip, rate=0.5).rate == 0.5
    with pytest.raises(SettingsError, match=r"rate must be in \(0, 1\], got 5"):
        replace(trip, rate=5)


@pytest.mark.parametrize(
    "assignments, expected",
    [
        (["move.rank=8"], Trip(move=Walk(rank=8))),
        (["move.kind=dance"], Trip(move=Dance())),
        (["move.rank=8", "move.kind=dance"], Trip(move=Dance(rank=8))),
        (["move.first.kind=jump", "move.kind=dance"], Trip(move=Dance(first=Jump()))),
        (["move.kind=dance", "move.first.size=.5"], Trip(move=Dance(first=Step(size=0.5)))),
        (["extra.kind=walk"], Trip(extra=Walk())),
        (["span.high=9"], Trip(span=Span(high=9))),
        (["span=none"], Trip(span=None)),
        (["clip=none"], Trip(clip=None)),
        (["clip=+0.5"], Trip(clip=1.5)),
        (["move.rank=+4"], Trip(move=Walk(rank=8))),
        (["rate=1e-5"], Trip(rate=1e-5)),
        (["flag=true"], Trip(flag=True)),
        (["flag=True"], Trip(flag=True)),
        (["spacing=none"], Trip(spacing="none")),
        (["name=2024"], Trip(name="2024")),
        (["text=2024-01-01"], Trip(text="2024-01-01")),
        (["text=a = b # c"], Trip(text="a = b # c")),
        (["text='quoted'"], Trip(text="quoted")),
        (["words=a,b c"], Trip(words=("a", "b c"))),
        (["words=[a, 5]"], Trip(words=("a", "5"))),
        (['words=["a", "b"]'], Trip(words=("a", "b"))),
        (["words="], Trip()),
        (["size.0=64"], Trip(size=(64, 256))),
        (["places=[{path='x'}]", "places.0.repeats=3"], Trip(places=(Place(path="x", repeats=3),))),
        (['places=[{"path": "x", "repeats": 3}]'], Trip(places=(Place(path="x", repeats=3),))),
        (['span={"low": 1, "high": 9}'], Trip(span=Span(low=1, high=9))),
        (['text={"low": 1}'], Trip(text='{"low": 1}')),
        (["auto=3"], Trip(auto=3)),
    ],
    ids=str,
)
def test_override(assignments, expected):
    assert override(Trip(), assignments) == expected


@pytest.mark.parametrize(
    "assignment, sentence",
    [
        ("rate=-1", "rate must be in (0, 1], got -1; speed"),
        ("rate=nan", "rate must be a finite number, got nan; speed"),
        ("rate=abc", "rate must be a number, got 'abc'; speed"),
        ("rate='0.5'", "rate must be a number, got '0.5'; speed"),
        ("rate=true", "rate must be a number, got true; speed"),
        ("steps=true", "steps must be a whole number, got true; how many"),
        ("steps='5'", "steps must be a whole number, got '5'; how many"),
        ("steps=1.5", "steps must be a whole number, got 1.5; how many"),
        ("steps=+5", "steps has no number that 5 could be added to; give the value"),
        ("flag=1", "flag must be true or false, got 1; a flag"),
        ("flag=yes", "flag must be true or false, got 'yes'; a flag"),
        ("words=['a', 3]", "words.1 must be text, got 3; words"),
        ("size=5", "size must be a list, got 5; sides"),
        ("size=[1]", "size has too few items, got (1,); sides"),
        ("size=[1,2,3]", "size must have at most 2 items, got (1, 2, 3); sides"),
        ("size.2=5", "size.2: '2' must be the index of one of 2 items (0 to 1)"),
        ("places.0.path=x", "places.0.path: the list is still empty, so it has no item 0"),
        ("places=[{}]", "places.0.path is required: folder of images"),
        ("name=A", "name must match ^[a-z0-9]+$, got 'A'; letters and digits"),
        ("spacing=odd", "spacing must be 'none' or 'even', got 'odd'; spacing"),
        ("auto=x", "auto must be 'auto' or a whole number, got 'x'; a number or auto"),
        ("move=5", "move must be a table of settings, got 5; how to move"),
        (
            "move.kind=danse",
            "move.kind must be one of walk, dance, got 'danse'; did you mean 'dance'?",
        ),
        ("extra.rank=3", "extra.kind is required: one of walk, dance"),
        ("move.rank=0", "move.rank must be in [1, 128], got 0; number # of legs"),
        ("nme=x", "nme is not a setting; did you mean name?"),
        ("move.rnk=5", "move.rnk is not a setting; did you mean move.rank?"),
        ("repeats=5", "repeats is not a setting; did you mean places.repeats?"),
        (
            "move.first=5",
            "move.first is not a setting; it belongs to move.kind = 'dance', and this is 'walk'",
        ),
        ("name.x=3", "name.x is not a setting; name is a plain value"),
        ("span.low=3", "span: low must be at most high, got 3 and 1"),
        ("rate", "'rate' must have the form key=value, for example a.b=3"),
        ("a..b=3", "'a..b=3' must have the form key=value, for example a.b=3"),
    ],
    ids=str,
)
def test_mistakes_are_said_in_our_words(assignment, sentence):
    with pytest.raises(SettingsError) as caught:
        override(Trip(), [assignment])
    assert str(caught.value) == sentence


def test_all_mistakes_at_once_each_with_its_file():
    with pytest.raises(SettingsError) as caught:
        from_toml(Trip, "rate = -1\nnme = 3", source="trip.toml")
    assert set(str(caught.value).splitlines()) == {
        "trip.toml: rate must be in (0, 1], got -1; speed",
        "trip.toml: nme is not a setting; did you mean name?",
    }
    with pytest.raises(SettingsError, match=r"trip\.toml: not valid TOML: .*line 1"):
        from_toml(Trip, "rate = = 1\n", source="trip.toml")


def test_python_gets_the_same_sentences():
    with pytest.raises(
        SettingsError, match=r"^rank must be in \[1, 128\], got 0; number # of legs$"
    ):
        Walk(rank=0)
    with pytest.raises(SettingsError, match=r"^move\.rank must be in \[1, 128\], got 0;"):
        Trip(move={"kind": "walk", "rank": 0})
    with pytest.raises(SettingsError, match=r"^Trip must be a table of settings"):
        from_dict(Trip, [])


def test_kind_may_be_left_out_for_the_default():
    assert from_toml(Trip, "[move]\nrank = 9") == Trip(move=Walk(rank=9))
