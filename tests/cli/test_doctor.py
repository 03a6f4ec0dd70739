"""`kinema doctor` on this machine, and on one with a GPU that is simulated."""

import json
from types import SimpleNamespace

import torch

from kinema.cli import main
from kinema.cli.doctor import examine_machine


def test_report(capsys):
    main(["doctor"])
    text = capsys.readouterr().out
    assert f"torch {torch.__version__}" in text
    assert "attention sdpa" in text
    assert "xformers runs on an NVIDIA GPU, not on cpu; use sdpa" in text or torch.cuda.is_available()


def test_json_has_every_back_end(capsys):
    main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    names = [option["name"] for option in report["attention_backends"]]
    assert names[0] == "sdpa"
    assert {"flash-attn-2", "flash-attn-3", "sage", "xformers"} <= set(names)
    assert report["attention"] in names
    assert report["free_memory"] > 0


def test_a_gpu_without_fp8(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (8, 6))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (20 * 2**30, 24 * 2**30))
    card = SimpleNamespace(name="RTX 3090", major=8, minor=6)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device=None: card)
    report = examine_machine()
    assert (report.device, report.dtype, report.attention) == ("cuda", "bfloat16", "sdpa")
    assert report.gpus[0]["memory"] == 24 * 2**30
    fp8 = next(option for option in report.number_formats if option.name == "fp8")
    assert not fp8.available
    assert "use bfloat16" in fp8.note
    notes = {option.name: option.note for option in report.attention_backends}
    assert "is not installed; install it: pip install flash-attn" in notes["flash-attn-2"]
    assert "compute capability 9.0 or more" in notes["flash-attn-3"]
