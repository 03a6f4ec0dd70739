"""`kinema train`: durations, units, and TensorBoard files."""

import pytest

from kinema.cli.train_logging import format_flops, open_tensorboard, write_tensorboard
from kinema.cli.train_run import parse_duration
from kinema.errors import UserError
from kinema.training.loop import StepReport
from kinema.training.run_context import Progress


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("25m", 1500), ("2h", 7200), ("1.5h", 5400), ("7", 7)]
)
def test_durations_are_parsed(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "soon", "-3m", "0", "nan", "infs"])
def test_other_texts_are_not_durations(text):
    with pytest.raises(UserError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("flops_per_second", "text"), [(5e5, "0.5 MFLOP/s"), (9.4e10, "94.0 GFLOP/s"), (3e14, "300.0 T")]
)
def test_flops_are_formatted(flops_per_second, text):
    assert format_flops(flops_per_second).startswith(text)


def test_steps_are_written_for_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    writer = open_tensorboard(tmp_path)
    report = StepReport(
        step=7, num_steps=9, loss=0.5, grad_norm=1.0, logs={"l1": 0.25}, seconds=1.0, steps_per_second=1.0,
        samples_per_second=2.0, flops_per_second=3e9, scores={"ema/psnr": 30.0},
    )  # fmt: skip
    write_tensorboard(writer, Progress(stage="autoencoder", done=7, total=9, report=report))
    writer.close()
    data = next(tmp_path.glob("events*")).read_bytes()
    scalars, offset = {}, 0
    while offset < len(data):
        # A record: length (8 bytes), its checksum (4), the message, its checksum (4).
        size = int.from_bytes(data[offset : offset + 8], "little")
        event = Event.FromString(data[offset + 12 : offset + 12 + size])
        scalars |= {value.tag: (event.step, value.simple_value) for value in event.summary.value}
        offset += size + 16
    values = {tag.split("/", 1)[1]: value for tag, (step, value) in scalars.items() if step == 7}
    assert values["loss"] == 0.5
    assert values["l1"] == 0.25
    assert [value for tag, value in values.items() if tag.endswith("psnr")] == [30.0]
