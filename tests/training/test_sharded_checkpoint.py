"""Checkpoints that several processes write: here a group of one; `tests/distributed` has several."""

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from kinema.distributed.process_group import SINGLE_PROCESS
from kinema.errors import UserError
from kinema.training import checkpoint
from kinema.training.sharded_checkpoint import ShardedSaver


@pytest.fixture
def mesh():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def parts(mesh):
    whole = torch.arange(12.0).reshape(4, 3)
    return {
        "model": {
            "sharded": distribute_tensor(whole, mesh, [Shard(0)]),
            "columns": distribute_tensor(whole + 20, mesh, [Shard(1)]),
            "replicated": distribute_tensor(whole + 40, mesh, [Replicate()]),
            "plain": whole[:, 1],
            "number": torch.tensor(3),
        },
        "ema": {"sharded": distribute_tensor(whole.bfloat16(), mesh, [Shard(0)])},
    }


def saver(folder):
    return ShardedSaver(run_dir=folder, keep_last=2, dist_context=SINGLE_PROCESS)


def test_a_checkpoint_holds_the_values_at_the_time_of_saving(mesh, tmp_path):
    tensors = parts(mesh)
    expected = {
        part: {n: (t.full_tensor() if isinstance(t, DTensor) else t).clone() for n, t in named.items()}
        for part, named in tensors.items()
    }
    with saver(tmp_path) as writer:
        for step in (1, 2, 3):
            writer.save(step, tensors, {"seed": 7}, best_step=None)
            for tensor in tensors["model"].values():
                (tensor.to_local() if isinstance(tensor, DTensor) else tensor).add_(100)
            if step == 1:
                writer.wait()
                read = checkpoint.load(tmp_path)
    assert checkpoint.list_steps(tmp_path) == [2, 3]
    assert read.state == {"seed": 7}
    for part, named in expected.items():
        assert read.parts[part].keys() == named.keys()
        for name, tensor in named.items():
            assert read.parts[part][name].dtype == tensor.dtype
            assert torch.equal(read.parts[part][name], tensor), name


def test_a_sharded_tensor_is_read_as_it_is_sharded(mesh, tmp_path):
    tensors = parts(mesh)
    with saver(tmp_path) as writer:
        writer.save(1, tensors, {}, best_step=None)
    read = checkpoint.load(tmp_path, like=lambda part, name: tensors[part][name])
    assert isinstance(read.parts["model"]["columns"], DTensor)
    assert torch.equal(read.parts["model"]["columns"].full_tensor(), torch.arange(12.0).reshape(4, 3) + 20)


def test_a_checkpoint_that_cannot_be_written_ends_in_one_line_and_leaves_the_last_one(
    mesh, tmp_path, monkeypatch
):
    writer = saver(tmp_path)
    writer.save(1, parts(mesh), {}, best_step=None)
    writer.wait()

    def no_space(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", no_space)
    writer.save(2, parts(mesh), {}, best_step=None)
    with pytest.raises(UserError, match=r"No space left on device.*free some space and resume"):
        writer.wait()
    assert checkpoint.list_steps(tmp_path) == [1]
    assert checkpoint.load(tmp_path).step == 1
    monkeypatch.undo()
    writer.save(3, parts(mesh), {}, best_step=None)
    writer.wait()
    assert checkpoint.list_steps(tmp_path) == [1, 3]
