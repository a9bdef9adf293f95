"""A judge by its id: size and licence are known before a byte is fetched."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from workbench import store
from workbench.evaluation import judges
from workbench.settings import SettingsError

FILES = {
    "config.json": 900, "model.safetensors": 600 << 20, "tokenizer.json": 2 << 20,
    "pytorch_model.bin": 600 << 20, "README.md": 10, "onnx/model.safetensors": 5,
}  # fmt: skip


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    told = SimpleNamespace(files=dict(FILES), fetched=[])

    class Api:
        def model_info(self, name: str, **options) -> SimpleNamespace:
            if name == "owner/none":
                raise OSError("404 Client Error\nmore")
            siblings = [SimpleNamespace(rfilename=k, size=v) for k, v in told.files.items()]
            return SimpleNamespace(siblings=siblings, card_data=SimpleNamespace(license="mit"))

    def download(name: str, *, allow_patterns, local_dir) -> None:
        told.fetched.append((name, tuple(allow_patterns)))
        Path(local_dir).mkdir(parents=True)
        (Path(local_dir) / "config.json").write_text("{}")

    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    return told


def test_an_offer_is_safetensors_and_what_reads_them(hub: SimpleNamespace) -> None:
    offer = judges.look_up("owner/clip")
    assert offer.files == ("config.json", "model.safetensors", "tokenizer.json")
    assert (offer.num_bytes, offer.licence) == ((602 << 20) + 900, "mit")
    assert judges.kept("owner/clip") is None
    folder = judges.fetch(offer)
    assert judges.kept("owner/clip") == folder
    assert hub.fetched == [("owner/clip", offer.files)]


def test_what_is_here_is_not_asked_for(tmp_path: Path) -> None:
    assert judges.kept(str(tmp_path)) == tmp_path
    assert judges.kept("critters") == Path("critters")


def test_judges_that_cannot_be_had(hub: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="neither a folder here nor owner/name"):
        judges.look_up("missing-folder")
    with pytest.raises(SettingsError, match=r"404 Client Error\); check the name"):
        judges.look_up("owner/none")
    hub.files.pop("model.safetensors")
    with pytest.raises(SettingsError, match=r"no model\.safetensors"):
        judges.look_up("owner/pickles")
    hub.files["model.safetensors"] = 600 << 20
    monkeypatch.setattr(store, "free_bytes", lambda folder: 1 << 20)
    with pytest.raises(SettingsError, match="takes 602 MiB, and 1 MiB are free"):
        judges.fetch(judges.look_up("owner/clip"))
