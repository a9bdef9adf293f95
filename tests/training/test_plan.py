"""What a U-Net from nothing will take: sizes by hand, and against what a run really leaves."""

import pathlib
from pathlib import Path

import pytest
from tiny_recipes import tiny_recipe, write_photos

import workbench as wb
from workbench.recipe import Recipe
from workbench.settings import SettingsError
from workbench.training import plan as planning
from workbench.training.plan import Memory, Plan, Stage, plan

NARROW = (
    "adapter={kind='full', keep_start=false}",
    "base.from_scratch.weights=small_normal",
    "base.dtype=bfloat16",
    "training.precision=bfloat16",
    "training.trainable_dtype=bfloat16",
    "optimizer.kind=lion8bit",
)


def planned(recipe: Recipe) -> Plan:
    found = plan(recipe)
    assert found is not None
    return found


@pytest.fixture(autouse=True)
def uncounted(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """No pass is counted, which takes seconds, where a test does not ask for it."""
    if "stages" not in request.node.name:
        monkeypatch.setattr(planning, "_stages", lambda recipe, base: ())


@pytest.fixture(scope="module")
def recipe(tiny_sdxl: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("plan")
    return tiny_recipe(tiny_sdxl, write_photos(folder / "photos"), folder / "runs", *NARROW)


def test_sdxl_takes_what_its_number_of_weights_says():
    """2,567,463,684 weights: 2 bytes each and of each gradient, 1 and a block's scale of 8-bit
    Lion, 4 of a moving average; encoders in bfloat16, the autoencoder in float32."""
    found = planned(Recipe.preset("sdxl-unet-from-scratch"))
    own, average = found.memory[0], found.other_average
    assert (found.num_weights, found.num_tensors) == (2_567_463_684, 1_680)
    assert own.weights == own.gradients == 5_134_927_368
    assert own.state == pytest.approx(2_567_463_684 * (1 + 4 / 256), rel=0.002)
    assert own.frozen == 2 * (123_060_480 + 694_659_840) + 4 * 83_653_863
    assert (own.average, average.average) == (0, 10_269_854_736)
    assert [memory.optimizer for memory in found.memory] == [
        *("lion8bit", "lion", "adamw8bit", "adamw")
    ]
    adamw = found.memory[-1]
    assert adamw.state == pytest.approx(8 * 2_567_463_684, rel=0.001)  # float32 all the same
    assert found.final_bytes == 5_134_927_368  # float16
    assert found.checkpoint_bytes == own.weights + own.state
    assert found.disk_bytes == 6 * found.checkpoint_bytes + found.final_bytes
    assert found.main_memory_bytes == 10_269_854_736
    assert found.pictures == 6_400_000


def test_blocks_are_named_both_ways(recipe: Recipe):
    found = planned(recipe)
    named = {block.name: block.original for block in found.blocks}
    assert named["conv_in"] == "input_blocks.0.0"
    assert named["mid_block"] == "middle_block.1.norm"
    assert named["up_blocks.2"] == "output_blocks.6.0.in_layers.0"
    assert sum(block.num_weights for block in found.blocks) == found.num_weights


def test_float32_keeps_everything_twice_as_wide(recipe: Recipe):
    narrow = planned(recipe).memory[0]
    wide = planned(recipe.override(["training.trainable_dtype=float32"])).memory[0]
    assert (wide.weights, wide.gradients) == (2 * narrow.weights, 2 * narrow.gradients)
    assert wide.state == narrow.state and wide.update == 0  # 8-bit, moved in place


def test_an_optimizer_that_looks_at_all_weights_widens_them_all(recipe: Recipe):
    apart = planned(recipe).memory[0]
    whole = planned(recipe.override(["optimizer.kind=prodigy"])).memory[0]
    assert whole.update == 8 * planned(recipe).num_weights >= apart.update


def test_stages_double_until_the_bases_own_size(tiny_sd: Path, recipe: Recipe):
    changes = [f"base.path={tiny_sd}", "data.buckets={resolution=32, step=8, min_side=8}"]
    small, large = planned(recipe.override(changes)).stages
    assert (small.side_px, large.side_px) == (32, 64)
    assert small.flop < large.flop
    assert all(stage.activations[True] < stage.activations[False] for stage in (small, large))


def test_the_batch_fills_the_room_and_no_more():
    memory = Memory("lion8bit", 100, 100, 50, 0, frozen=50, update=30)
    stage = Stage(256, flop=1, activations={True: 7, False: 20})
    assert memory.held == 300
    assert stage.batch(memory, 400, recomputing=True) == 14  # 98 of 100
    assert stage.batch(memory, 400, recomputing=False) == 5
    assert stage.batch(memory, 329, recomputing=True) == 0  # the update alone does not fit
    assert stage.batch(memory, 1e9, recomputing=True) == 4096  # the setting's own bound


def test_a_checkpoint_and_a_file_are_as_large_as_planned(recipe: Recipe, tmp_path: Path):
    """Header, manifest and names are some hundred kilobytes more."""
    recipe = recipe.override(
        [
            *("length.steps=1", "ema.decay=0.9", "output.report=false"),
            *("optimizer.min_8bit_size=1", "sampling.prompts=[]"),
            f"output.folder={tmp_path}",
        ]
    )
    found, run = planned(recipe), wb.start(recipe)
    for _ in run.train():
        pass

    def size(folder: pathlib.Path) -> int:
        return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))

    (checkpoint,) = (run.folder / "checkpoints").iterdir()
    # A scale and a table for each small tensor, where a million weights share them in the plan.
    assert 1 <= size(checkpoint) / found.checkpoint_bytes < 2
    averages = checkpoint / "ema.safetensors"
    assert averages.stat().st_size == pytest.approx(4 * found.num_weights, rel=0.5)
    weights = checkpoint / "adapter.safetensors"
    assert weights.stat().st_size == pytest.approx(2 * found.num_weights, rel=0.7)
    assert size(run.final_lora) == pytest.approx(found.final_bytes, rel=0.4)


@pytest.mark.parametrize(
    "change",
    [
        ("base.from_scratch=none",),
        ("adapter.kind=lora",),
        ("base.path=somebody/a-model",),
    ],
)
def test_nothing_is_said_where_nothing_can_be(recipe: Recipe, change: tuple[str, ...]):
    assert plan(recipe.override(change)) is None


def test_a_base_that_is_here_and_unfit_is_refused(recipe: Recipe, tmp_path: Path):
    (tmp_path / "base").mkdir()
    with pytest.raises((SettingsError, ValueError), match="base"):
        plan(recipe.override([f"base.path={tmp_path / 'base'}"]))


def test_the_rate_is_that_of_a_matrix_product(monkeypatch: pytest.MonkeyPatch):
    """A clock that goes on by .1 s at each look, two looks a product of 1024 x 1024."""
    clock = iter(range(100))
    monkeypatch.setattr(planning.time, "perf_counter", lambda: next(clock) / 10)
    monkeypatch.setattr(planning.torch.cuda, "is_available", lambda: False)
    assert planning.matrix_rate("float32") == pytest.approx(2 * 1024**3 / 0.1)
