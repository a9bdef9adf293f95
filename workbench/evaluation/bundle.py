"""A LoRA made ready to be given away: preview, settings for two UIs, workflow and model card."""

import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from PIL import PngImagePlugin

from workbench import store
from workbench.adapters.networks import NetworkSettings
from workbench.evaluation import programs, rungs
from workbench.evaluation.along import pictures_at
from workbench.evaluation.card import Told, model_card
from workbench.evaluation.loading import open_lora, recorded_recipe, wanted
from workbench.models.solver import ZERO_SNR_RESCALE
from workbench.models.source import BUILT_IN
from workbench.recipe import Recipe
from workbench.records import log
from workbench.records.events import Proved
from workbench.records.sampling import Picture, draw
from workbench.settings import SettingsError
from workbench.store import FileRefused

# What our files call the families whose workflow is a checkpoint, a LoRA and a sampler.
_VERSIONS = (("sdxl", "sdxl"), ("sd_v2", "sd2"), ("sd_v1", "sd1"))
_STEP = re.compile(r"-step(\d+)$")


def write_bundle(
    path: Path, out: Path, *, base: str | None = None, license: str | None = None
) -> Path:
    """Write a folder, or a zip where the name ends in .zip, with a LoRA and what belongs to it.

    Args:
        path: a LoRA file of ours, or the folder of its run.
        out: what to write; must not exist.
        base: where the base lies, if not where the file says; only read where a preview is missing.
        license: of the LoRA, in the Hub's words, such as "cc-by-4.0".
    Returns:
        `out`.
    Raises:
        SettingsError: `out` exists, or the file carries no recipe.
        FileRefused: no such file, or not sound.
    """
    if out.exists():
        raise SettingsError(f"{out} exists; name a new folder or .zip file with --out")
    file = _lora_of(path)
    recipe = recorded_recipe(file)
    if recipe is None:
        raise SettingsError(
            f"{file} carries no recipe, so nothing can be said of how it was trained: only LoRA "
            "files that workbench wrote can be bundled"
        )
    if base is not None:
        recipe = recipe.override([f"base.path={json.dumps(base)}"])
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".bundle-") as temporary:
        folder = Path(temporary) / (out.stem if out.suffix == ".zip" else out.name)
        folder.mkdir()
        _fill(folder, file, recipe, license=license)
        if out.suffix == ".zip":
            with store.replacing(out) as whole:
                _pack(folder, whole)
        else:
            os.replace(folder, out)
    return out


def _lora_of(path: Path) -> Path:
    """The LoRA file that a path means."""
    if path.is_dir() and (path / "recipe.toml").is_file():
        recipe = Recipe.load(path / "recipe.toml")
        path = path / "lora" / f"{recipe.name}.safetensors"
        if path.with_suffix("").is_dir():
            raise SettingsError(
                f"{path.with_suffix('')} is a whole model: bundle takes a LoRA; the folder can be "
                "given away as it is"
            )
    if path.is_dir():
        raise FileRefused(f"{path}: no recipe.toml, so this is no run; name a LoRA's .safetensors")
    store.read_header(path)
    return path


def _pack(folder: Path, whole: Path) -> None:
    """Put a folder into a zip, its name in front; pictures and weights do not shrink."""
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"{folder.name}/{file.name}")


def _fill(folder: Path, file: Path, recipe: Recipe, *, license: str | None) -> None:
    """Write all files of a bundle."""
    name, run = file.stem, _run_of(file)
    metadata, _ = store.read_header(file)
    picture = _picture(file, recipe, run)
    drawn = _drawn(file, recipe, picture, metadata)
    files = {f"{name}.safetensors": "the LoRA", f"{name}.png": "preview, with its settings inside"}
    shutil.copyfile(file, folder / f"{name}.safetensors")
    chunks = PngImagePlugin.PngInfo()
    if drawn is not None:
        chunks.add_itxt("parameters", programs.a1111_parameters(drawn))
    if drawn is not None and recipe.data.inpainting is None:
        graph = programs.comfyui_prompt(drawn)
        workflow = programs.comfyui_workflow(graph)
        chunks.add_itxt("prompt", json.dumps(graph))
        chunks.add_itxt("workflow", json.dumps(workflow))
        store.write_json(folder / "workflow.json", workflow)
        store.write_json(folder / "workflow-api.json", graph)
        files["workflow.json"] = "ComfyUI's editor opens it"
        files["workflow-api.json"] = "the same for ComfyUI's API"
    picture.image.save(folder / f"{name}.png", pnginfo=chunks)
    proof = _proof(file, run)
    told = Told(
        name=name,
        family={"sd1": "sd", "sd2": "sd", "sdxl": "sdxl"}.get(drawn.version if drawn else "", ""),
        prompt=picture.prompt,
        files=files,
        facts=_facts(recipe, metadata),
        findings=proof[1],
        passed=proof[0],
        notes=_notes(recipe, drawn),
        license=license,
    )
    store.write_text(folder / "README.md", model_card(recipe, told))


def _run_of(file: Path) -> Path | None:
    """The run that a LoRA file lies in, if it still does."""
    run = file.resolve().parent.parent
    is_run = file.resolve().parent.name == "lora" and (run / "events.jsonl").is_file()
    return run if is_run else None


def _picture(file: Path, recipe: Recipe, run: Path | None) -> Picture:
    """The run's own sample where it is there, otherwise one that is drawn now."""
    trigger = recipe.data.subsets[0].trigger
    if run is not None:
        match = _STEP.search(file.stem)
        shots = pictures_at(run, int(match[1]) if match else None)
        for shot in sorted(shots, key=lambda shot: bool(trigger) and str(trigger) not in shot[0]):
            return Picture(*shot, shots[shot])
    trained = open_lora(file, base=recipe.base.path)
    asked = wanted(recipe)
    prompt = next(iter(asked.prompts), trigger or recipe.name)
    job = (prompt, asked.sampling.seeds[0])
    return next(draw(trained.family, asked.sampling, [job]))


def _drawn(
    file: Path, recipe: Recipe, picture: Picture, metadata: Mapping[str, str]
) -> programs.Drawn | None:
    """What other programs must know; None for a family that they load otherwise."""
    said = metadata.get("ss_base_model_version", "")
    version = next((version for start, version in _VERSIONS if said.startswith(start)), None)
    if version is None:
        return None
    zero = metadata.get("ss_zero_terminal_snr") == "True"
    rescale = recipe.sampling.guidance_rescale
    vae = recipe.base.vae
    return programs.Drawn(
        prompt=picture.prompt,
        seed=picture.seed,
        size=picture.image.size,
        sampling=recipe.sampling,
        lora=file.stem,
        lora_hash=metadata.get("sshs_model_hash", ""),
        base=_without_ending(recipe.base.path),
        base_hash=metadata.get("ss_new_sd_model_hash", ""),
        version=version,
        clip_skip=recipe.base.clip_skip,
        velocity=metadata.get("modelspec.prediction_type") == "v",
        zero_terminal_snr=zero,
        rescale=rescale if rescale is not None else (ZERO_SNR_RESCALE if zero else 0.0),
        vae=f"{_without_ending(vae)}.safetensors" if vae else None,
    )


def _without_ending(path: str) -> str:
    return Path(path).name.removesuffix(".safetensors")


def _proof(file: Path, run: Path | None) -> tuple[bool | None, tuple[str, ...]]:
    """What the run's proof came to, if this is the file that it proved unchanged."""
    row = rungs.hash_row(file)
    if not row.passed:
        return False, (f"✗ {row.name}: {row.explanation}",)
    events = log.read(run) if run is not None else []
    proofs = [event for event in events if isinstance(event, Proved)]
    if proofs and Path(proofs[-1].path).name == file.name:
        return proofs[-1].passed, proofs[-1].findings
    return None, ()


def _facts(recipe: Recipe, metadata: Mapping[str, str]) -> dict[str, str]:
    """How it was trained, for the card's table."""
    adapter, side = recipe.adapter, recipe.data.buckets.resolution
    method = adapter.kind
    if isinstance(adapter, NetworkSettings):
        alpha = "" if adapter.alpha is None else f", alpha {adapter.alpha:g}"
        method = f"{adapter.kind}, rank {adapter.rank}{alpha}"
        method += ", text encoder too" if adapter.text_encoder else ", text encoder left alone"
    images = recipe.training.batch_size * recipe.training.accumulation
    facts = {
        "base": recipe.base.path,
        "SHA-256 of the base": metadata.get("ss_new_sd_model_hash", ""),
        "method": method,
        "pictures": metadata.get("ss_num_train_images", ""),
        "resolution": f"{side} px",
        "steps": f"{metadata.get('ss_steps', '?')}, each of {images} pictures",
        "optimizer": f"{recipe.optimizer.kind}, rate {recipe.optimizer.learning_rate:g}, "
        f"schedule {recipe.schedule.kind}",
        "noise": recipe.noise.kind,
        "precision": recipe.training.precision,
        "date": metadata.get("modelspec.date", ""),
    }
    return {key: value for key, value in facts.items() if value}


def _notes(recipe: Recipe, drawn: programs.Drawn | None) -> list[str]:
    """What other programs cannot be told, or do otherwise."""
    notes = []
    if recipe.base.path in BUILT_IN:
        notes.append(
            f"The base `{recipe.base.path}` ships with LoRA Workbench; others do not have it."
        )
    elif not recipe.base.path.endswith(".safetensors"):
        notes.append("The base is a folder: other programs want its single-file release.")
    if drawn is None:
        notes.append("No workflow is written for a base of this family.")
        return notes
    if drawn.clip_skip and drawn.version == "sdxl":
        notes.append(
            f"It was trained with {drawn.clip_skip} more layers left out than SDXL leaves out by "
            "itself: A1111 cannot be told, the ComfyUI workflow is."
        )
    if drawn.zero_terminal_snr:
        notes.append("In A1111 set *Noise schedule for sampling* to *Zero Terminal SNR*.")
    if drawn.rescale:
        notes.append(f"Guidance is rescaled by {drawn.rescale:g}, which A1111 has no setting for.")
    return notes
