"""Damaged and hostile model folders: each is loaded or refused in one line, soon and in little memory."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
from pathlib import Path

import pytest
import torch

from kinema.errors import UserError
from kinema.models.formats.loader import open_model
from kinema.models.formats.safetensors_io import list_file_tensors
from tests.fixtures import wan_fixtures
from tests.fixtures.tiny_model import save_tiny_model

CPU = torch.device("cpu")
MAX_SECONDS = 10
WILD_VALUES = [
    None, True, 0, -1, 1, 3, 10**9, 2**63, 10**400, 1.5, -1e308, "", "x", "1", [], [0], [1] * 50, {},
    {"a": 1}, [[]], [-1, 2, 2], [1, 10**9, 10**9], "../../etc/passwd", "\ud800",
]  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    own = save_tiny_model(tmp_path_factory.mktemp("own") / "world")
    saved = wan_fixtures.Saved(tmp_path_factory.mktemp("wan"))
    return [own, saved["t2v-2.1"], saved["i2v-2.1"]]


@contextlib.contextmanager
def time_limit():
    """An AssertionError if the block takes longer than `MAX_SECONDS` seconds."""

    def fail(*_):
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(MAX_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def load_all(folder: Path) -> None:
    """Load every component."""
    model = open_model(str(folder))
    model.load_transformer(dtype=torch.float32, device=CPU)
    model.load_vae(device=CPU)
    if (folder / "text_encoder").is_dir():
        model.load_text_encoder(dtype=torch.float32, device=CPU)
    if model.has_image_encoder and hasattr(model, "load_image_encoder"):
        model.load_image_encoder(dtype=torch.float32, device=CPU)


def change_value(values: object, rng: random.Random) -> object:
    """JSON with one value somewhere replaced, removed or added."""
    if isinstance(values, dict) and values and rng.random() < 0.9:
        name = rng.choice(list(values))
        kind = rng.random()
        if kind < 0.1:
            return {other: value for other, value in values.items() if other != name}
        if kind < 0.15:
            return {**values, "unknown": rng.choice(WILD_VALUES)}
        return {**values, name: change_value(values[name], rng)}
    if isinstance(values, list) and values and rng.random() < 0.5:
        at = rng.randrange(len(values))
        return [*values[:at], change_value(values[at], rng), *values[at + 1 :]]
    return rng.choice(WILD_VALUES)


def damage_bytes(data: bytes, rng: random.Random) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return data[: rng.randrange(len(data))]
    if kind == 1:
        return b""
    # The beginning has the structure.
    at = rng.randrange(min(len(data), 2000))
    cut = rng.choice([0, 1, 5])
    return data[:at] + rng.randbytes(rng.choice([1, 1, 8])) + data[at + cut :]


def damage_weights(data: bytes, rng: random.Random) -> bytes:
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    name = rng.choice([name for name in header if name != "__metadata__"])
    kind = rng.randrange(4)
    if kind == 0:
        header[name] = change_value(header[name], rng)
    elif kind == 1:
        other = rng.choice([one for one in header if one != "__metadata__"])
        header[name]["data_offsets"] = header[other]["data_offsets"]
    elif kind == 2:
        header[name]["shape"] = rng.choice([[10**9, 10**9], [-1], [], [0], [2**62, 4], [1] * 100])
    else:
        header[rng.choice(["x", "__metadata__", ""])] = rng.choice([header[name], *WILD_VALUES])
    text = json.dumps(header).encode()
    size = rng.choice([len(text), len(text), len(text), 0, 2**40, 2**64 - 1])
    return size.to_bytes(8, "little") + text + data[8 + length :]


def damage(folder: Path, rng: random.Random) -> str:
    """Damage a file of a model's folder; what was done."""
    file = rng.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    kind = rng.random()
    if kind < 0.04:
        file.unlink()
    elif kind < 0.08:
        file.unlink()
        file.mkdir()
    elif kind < 0.12:
        file.write_text("[" * 100_000)
    elif file.suffix == ".json" and kind < 0.75:
        values = change_value(json.loads(file.read_text()), rng)
        file.write_text(json.dumps(values))
    elif file.suffix == ".safetensors" and kind < 0.75:
        file.write_bytes(damage_weights(file.read_bytes(), rng))
    else:
        file.write_bytes(damage_bytes(file.read_bytes(), rng))
    return str(file.relative_to(folder))


def run_fuzz(folders: list[Path], tmp_path: Path, num_cases: int, seed: int) -> None:
    rng = random.Random(seed)
    failures = []
    for number in range(num_cases):
        folder = shutil.copytree(rng.choice(folders), tmp_path / str(number))
        what = damage(folder, rng)
        try:
            with time_limit():
                load_all(folder)
        except UserError as error:
            if "\n" in str(error).strip():
                failures.append((number, what, "several lines", str(error)[:200]))
        except Exception as error:
            failures.append((number, what, type(error).__name__, str(error)[:200]))
        shutil.rmtree(folder)
    assert not failures, "\n".join(map(str, failures))


def test_damaged_folders_are_loaded_or_refused(folders, tmp_path):
    run_fuzz(folders, tmp_path, 25, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_five_hundred_damaged_folders(folders, tmp_path):
    run_fuzz(folders, tmp_path, 500, seed=1)


def write_safetensors(path: Path, header: dict, data: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
         "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}},
        {"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 12]}},
        {"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 12]}},
        {"a": {"dtype": "F32", "shape": [3.0], "data_offsets": [0, 12]}},
        {"a": {"dtype": "F32", "shape": [-3], "data_offsets": [0, -12]}},
        {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0]}},
        {"a": {"dtype": "F32", "shape": [3] * 100, "data_offsets": [0, 12]}},
        {"a": [0], "b": 1},
        {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}, "__metadata__": [0]},
        {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}, "__metadata__": {"a": 1}},
    ],
    ids=range(11),
)  # fmt: skip
def test_headers_that_contradict_themselves_are_refused(tmp_path, header):
    write_safetensors(tmp_path / "a.safetensors", header, bytes(12))
    with pytest.raises(UserError, match="not a complete safetensors file"):
        list_file_tensors(tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", ["num_layers", "num_attention_heads", "ffn_dim", "in_channels", "text_dim"])
@pytest.mark.parametrize("value", [10**9, 2**63, 10**30])
def test_absurd_sizes_end_at_once(folders, tmp_path, name, value):
    folder = shutil.copytree(folders[1], tmp_path / "model")
    file = folder / "transformer" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), name: value}))
    with time_limit(), pytest.raises(UserError):
        load_all(folder)


def test_a_tokenizer_runs_no_code(folders, tmp_path, capfd, monkeypatch):
    """`auto_map` names a Python file of the folder; transformers asks on the terminal whether to run it."""
    folder = shutil.copytree(folders[1], tmp_path / "model")
    file = folder / "tokenizer" / "tokenizer_config.json"
    values = json.loads(file.read_text())
    values["auto_map"] = {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    values["tokenizer_class"] = "Evil"
    file.write_text(json.dumps(values))
    (folder / "tokenizer" / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")

    def ask(*_):
        raise AssertionError("it asks")

    monkeypatch.setattr("builtins.input", ask)
    with time_limit(), contextlib.suppress(UserError):
        load_all(folder)
    assert not (tmp_path / "ran").exists()
