"""`caption`: what the captions of a folder hold, bulk edits, and models that write them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from workbench.commands.datasets import Folder, read_folder, show_left_out
from workbench.commands.progress import StageBar
from workbench.commands.terminal import Overrides, say, table

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset
    from workbench.data.edits import Change, Keeper

MANY_TAGS, MANY_PAIRS = 40, 30
EDIT, READ = "Edit all captions", "Let a model read the pictures"
Words = list[str] | None


def _option(text: str, *, metavar: str | None = None, panel: str = READ) -> Any:
    return typer.Option(metavar=metavar, help=text, rich_help_panel=panel)


Trigger = Annotated[
    str | None, _option("word to put first in every caption.", metavar="WORD", panel=EDIT)
]
Rename = Annotated[Words, _option("tag to rename.", metavar="OLD=NEW", panel=EDIT)]
Merge = Annotated[Words, _option("tags to make one of.", metavar="A,B=C", panel=EDIT)]
Remove = Annotated[Words, _option("tag to remove.", metavar="TAG", panel=EDIT)]
Add = Annotated[Words, _option("tag to put last where it is missing.", metavar="TAG", panel=EDIT)]
Kind = Annotated[
    Literal["critters", "clip", "wd14", "image_to_text"] | None,
    _option("critters needs no network; the others load a model."),
]
Model = Annotated[str | None, _option("folder or Hugging Face repository.", metavar="NAME")]
Threshold = Annotated[float | None, _option("score from which a tag is named.")]
Character = Annotated[float | None, _option("likewise for characters (wd14).")]
Vocabulary = Annotated[str | None, _option("tags to choose from (clip).", metavar="FILE")]
Prompt = Annotated[str | None, _option("what the model is asked (image_to_text).")]
HowToJoin = Annotated[
    Literal["missing", "append", "prepend", "replace"],
    _option("missing writes only where there is no caption."),
]
Exclude = Annotated[Words, _option("tag that is never written.", metavar="TAG")]
Write = Annotated[bool, typer.Option("--write", help="write the changes, not only show them.")]
Undo = Annotated[bool, typer.Option("--undo", help="put back what the latest --write changed.")]
Pairs = Annotated[bool, typer.Option("--pairs", help="show which tags stand together.")]
Draws = Annotated[int, typer.Option(min=1, help="draws of the first caption to show.")]


def caption(
    folder: Folder,
    settings: Overrides = None,
    trigger: Trigger = None,
    rename: Rename = None,
    merge: Merge = None,
    remove: Remove = None,
    add: Add = None,
    tagger: Kind = None,
    model: Model = None,
    threshold: Threshold = None,
    character_threshold: Character = None,
    vocabulary: Vocabulary = None,
    prompt: Prompt = None,
    mode: HowToJoin = "missing",
    exclude: Exclude = None,
    write: Write = False,
    undo: Undo = False,
    pairs: Pairs = False,
    draws: Draws = 5,
) -> None:
    """Count tags, write and edit captions, and show what the trainer draws from one.

    Nothing is written without --write, and what is written over is kept in FOLDER/.captions.
    Settings are those below `data` in a recipe, for example captions.tag_dropout=0.3.
    """
    first = _words("--trigger", [] if trigger is None else [trigger])
    if undo:
        _undo(folder)
        return
    options = {
        "model": model,
        "threshold": threshold,
        "character_threshold": character_threshold,
        "vocabulary": vocabulary,
        "prompt": prompt,
    }
    chosen = {name: value for name, value in options.items() if value is not None}
    _refuse_mixture(tagger, chosen, edits=bool(rename or merge or remove or add))
    # Buckets do not matter here, and must not set an image aside.
    every_size = ["buckets.max_upscale=100000", "buckets.max_lost=1"]
    dataset = read_folder(folder, [*every_size, *(settings or [])])
    writer = _Writer(dataset, folder, write=write)
    if tagger is not None:
        writer.read({"kind": tagger, **chosen}, mode=mode, exclude=exclude or [], prepend=first)
    elif first or rename or merge or remove or add:
        renamed = [*_renamings("--rename", rename), *_renamings("--merge", merge)]
        last = _words("--add", add)
        writer.edit(rename=dict(renamed), remove=remove or [], prepend=first, append=last)
    else:
        _show_tags(dataset, pairs=pairs)
        _show_draws(dataset, draws)


class _Writer:
    """Shows changes as they come, and writes them where that was asked for."""

    def __init__(self, dataset: "Dataset", folder: str, *, write: bool) -> None:
        self.dataset, self.folder, self.write = dataset, folder, write
        self.num_changed = 0
        self._keeper: Keeper | None = None

    def edit(self, **edits: Any) -> None:
        """Change all captions; see `plan_edit`."""
        from workbench.data.edits import plan_edit

        self._take(plan_edit(self.dataset, **edits), say)
        self._end(len(self.dataset))

    def read(self, tagger: dict[str, Any], **options: Any) -> None:
        """Let a model read the pictures; see `plan_reading`."""
        import torch
        from PIL import Image

        from workbench.data.edits import plan_reading
        from workbench.models.tagging import TaggingSettings
        from workbench.settings import from_dict

        chosen = from_dict(TaggingSettings, {"tagger": tagger}).tagger
        say(f"Loading the tagger {tagger.get('model', tagger['kind'])}")
        model = chosen.load("cuda" if torch.cuda.is_available() else "cpu")

        def read(images: list[Image.Image]) -> list[list[str]]:
            return [[found.text for found in picture] for picture in model.read(images)]

        total = 0
        plan = plan_reading(self.dataset, read, batch_size=model.batch_size, **options)
        with StageBar() as bar:
            for done, total, changes in plan:
                bar.update("reading pictures", done, total, unit="pictures")
                self._take(changes, bar.line)
        self._end(total)

    def _take(self, changes: "Sequence[Change]", line: Callable[[str], None]) -> None:
        from workbench.data.edits import Keeper, apply
        from workbench.data.sources import shown

        for change in changes:
            line(f"{shown(change.name)}: {change.after}")
        self.num_changed += len(changes)
        if self.write and changes:
            self._keeper = self._keeper or Keeper(self.folder)
            apply(changes, self._keeper)

    def _end(self, total: int) -> None:
        if not self.write:
            say(f"{self.num_changed} of {total} captions would change; --write does it.")
            return
        say(f"{self.num_changed} of {total} captions changed.")
        if self._keeper is not None:
            say(f"What was there before is kept in {self._keeper.folder}; --undo puts it back.")


def _undo(folder: str) -> None:
    from workbench.data.edits import restore

    kept, count = restore(folder)
    say(f"{count} captions are as they were before {kept.name}.")


def _refuse_mixture(tagger: str | None, options: dict[str, Any], *, edits: bool) -> None:
    from workbench.settings import SettingsError

    if tagger is not None and edits:
        raise SettingsError(
            "--tagger goes with --trigger and --exclude alone; let it write first, then edit"
        )
    if tagger is None and options:
        name = next(iter(options)).replace("_", "-")
        raise SettingsError(f"--{name} is for a model that reads the pictures: give --tagger too")


def _renamings(option: str, pairs: Words) -> list[tuple[str, str]]:
    """`old=new` and `a,b=c` as pairs of an old tag and a new one."""
    from workbench.settings import SettingsError

    form = "A,B=C" if option == "--merge" else "OLD=NEW"
    found = []
    for pair in pairs or []:
        old, equals, new = (part.strip() for part in pair.partition("="))
        names = [name.strip() for name in old.split(",")] if option == "--merge" else [old]
        if not (all(names) and equals and new):
            raise SettingsError(f"{option} must have the form {form}, got {pair!r}")
        found += [(name, new) for name in names]
    return found


def _words(option: str, words: Words) -> list[str]:
    from workbench.settings import SettingsError

    for text in words or []:
        if not text.strip() or not text.isprintable():
            raise SettingsError(f"{option} must be a word on one line, got {text!r}")
    return list(words or [])


def _show_tags(dataset: "Dataset", *, pairs: bool) -> None:
    from workbench.data.tags import co_occurrence, count_tags, prose_share

    captions = [record.caption for record in dataset.records]
    settings = dataset.settings.captions
    counts = count_tags(captions, settings)
    table(
        ("tag", "images", "share"),
        [(tag, str(n), f"{n / len(captions):.0%}") for tag, n in counts.most_common(MANY_TAGS)],
    )
    if len(counts) > MANY_TAGS:
        say(f"and {len(counts) - MANY_TAGS} rarer ones")
    if pairs:
        # Tags that always stand together cannot be told apart by training.
        together = co_occurrence(captions, settings).most_common(MANY_PAIRS)
        rows = [
            (f"{a} + {b}", str(n), f"{n / min(counts[a], counts[b]):.0%}") for (a, b), n in together
        ]
        table(("together", "images", "of the rarer"), rows)
    empty = sum(not caption for caption in captions)
    say(f"{len(counts)} tags in {len(captions)} images, {empty} of them without a caption")
    if settings.tag_dropout > 0 and (share := prose_share(captions, settings)) > 0.5:
        say(
            f"{share:.0%} of the captions are sentences: captions.tag_dropout cuts them at "
            f"{settings.separator.strip()!r} and leaves parts of sentences",
            style="yellow",
        )
    show_left_out(dataset)


def _show_draws(dataset: "Dataset", num_shown: int) -> None:
    from workbench.data.captions import simulate
    from workbench.data.sources import shown

    record = dataset.records[0]
    subset = dataset.settings.subsets[record.subset]
    simulation = simulate(
        record.caption,
        dataset.settings.captions,
        trigger=subset.trigger,
        class_word=subset.class_word,
    )
    say(f"\nWhat the trainer sees of {shown(record.name)}:")
    for draw in dict.fromkeys(simulation.draws[:num_shown]):
        say(f"  {draw or '(an empty caption)'}")
    shares = ", ".join(f"{tag} {share:.0%}" for tag, share in simulation.survival.items())
    say(f"Each tag's share of {len(simulation.draws)} draws: {shares}")
    if dataset.settings.captions.drops_whole:
        say("Where a whole caption is dropped, its trigger is dropped too.")
