"""Caches of latents and texts of a curated set, captions by a model, and the order of samples."""

import dataclasses
import http.server
import json
import threading
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kinema.data.caption_choice import CaptionConfig
from kinema.data.clip_reader import ClipRequest, read_requests
from kinema.data.clip_table import read_clips, write_clips
from kinema.data.cropping import to_model_input
from kinema.data.curation import CurationOptions, build_set, filter_set, load_options
from kinema.data.encoded_set import encode_set, open_encoded_set
from kinema.data.media_item import ClipOptions
from kinema.data.model_captions import EndpointCaptioner, load_captions, parse_answer, write_captions
from kinema.data.sample_order import OrderedSet, SampleOrder, epoch_batches
from kinema.data.selection import SelectionOptions
from kinema.data.thresholds import preset
from kinema.data.video_folder import open_datasets
from kinema.errors import UserError
from kinema.media import write_video
from tests.fixtures.encode_slowly import Letters, Means
from tests.fixtures.shots import FPS, shot

DEVICE = torch.device("cpu")
OPTIONS = CurationOptions(
    selection=SelectionOptions(
        clips=ClipOptions(frames=(5,), fps=12.0, resolutions=((64, 64), (96, 64))), thresholds=preset("all")
    )
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    base = tmp_path_factory.mktemp("videos")
    for index in range(3):
        write_video(base / f"v{index}.mp4", shot(index, 36), FPS)
        if index:
            (base / f"v{index}.txt").write_text(f"caption {index}")
    Image.fromarray(shot(9, 1)[0]).save(base / "image.png")
    return base


@pytest.fixture
def curated(folder, tmp_path):
    for _ in build_set([folder], tmp_path / "set", OPTIONS):
        pass
    return tmp_path / "set"


def encode(out, *, letters=None, stop_after=None, captions=None):
    encoder = letters or Letters()
    steps = encode_set(out, Means(), "letters", lambda: encoder, captions=captions, device=DEVICE)
    for count, _ in enumerate(steps):
        if count == stop_after:
            steps.close()
            return encoder
    return encoder


def cache(out):
    files = (out / "cache").rglob("*.safetensors")
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def test_latents_are_those_of_the_frames_that_the_table_names(curated):
    encode(curated)
    opened = open_encoded_set(curated, clip_fingerprint="means", text_fingerprint="letters")
    rows = {row.clip_id: row for row in read_clips(curated)}
    assert len(opened) == 2 * sum(row.kept for row in rows.values()) > 8
    for index, sample in enumerate(opened.samples):
        request = ClipRequest(row=rows[sample.clip_id], size=sample.bucket[:2])
        ((_, frames),) = read_requests([request])
        assert frames.shape[:3] == (sample.bucket[2], sample.bucket[1], sample.bucket[0])
        expected = Means().encode(to_model_input(frames[None], DEVICE))["latents"][0]
        tensors = opened.tensors(index)
        assert torch.equal(tensors["latents"], expected)
        assert torch.equal(tensors["condition"], expected * 2)
    assert opened.text("caption 1").shape == (9, 1)
    assert opened.text("").shape == (1, 1)
    with pytest.raises(UserError, match="is not encoded"):
        opened.text("unknown")


def test_an_interrupted_encoding_ends_with_the_same_bytes(curated, monkeypatch):
    monkeypatch.setattr("kinema.data.encoded_set.CLIPS_PER_SHARD", 2)
    encode(curated)
    whole = cache(curated)
    for path in (curated / "cache").rglob("*.safetensors"):
        path.unlink()
    for stop in (3, 6, 1):
        encode(curated, stop_after=stop)
    encode(curated)
    assert cache(curated) == whole
    assert len(whole) > 5


def test_a_changed_caption_encodes_its_text_only(curated):
    encode(curated)
    before = cache(curated)
    rows = [
        dataclasses.replace(row, captions=("a new caption",)) if row.caption == "caption 1" else row
        for row in read_clips(curated)
    ]
    write_clips(curated, rows)
    assert encode(curated).seen == ["a new caption"]
    assert before.items() <= cache(curated).items()


def test_clips_that_are_not_encoded_are_counted(curated):
    with pytest.raises(UserError, match="are not encoded"):
        open_encoded_set(curated, clip_fingerprint="means", text_fingerprint="letters")


def test_held_out_clips_are_of_other_sources(curated):
    encode(curated)
    opened = open_encoded_set(curated, clip_fingerprint="means", text_fingerprint="letters")
    train, held_out = opened.split(0.2)
    assert {sample.source for sample in train.samples}.isdisjoint(
        sample.source for sample in held_out.samples
    )
    assert len(train) + len(held_out) == len(opened)
    assert len(held_out) > 0


def test_a_set_opens_as_datasets_of_one_shape(curated):
    opened = open_datasets(curated)
    for dataset in opened:
        shapes = {dataset.videos.frames(index).shape for index in range(len(dataset.videos))}
        assert len(shapes) == 1
    assert {len(dataset.videos.frames(0)) for dataset in opened} == {1, 5}


def test_no_kept_clip_is_an_error(curated):
    write_clips(curated, [dataclasses.replace(row, kept=False) for row in read_clips(curated)])
    with pytest.raises(UserError, match="no kept clips"):
        encode(curated)
    with pytest.raises(UserError, match="no kept clips"):
        open_datasets(curated)


# ---- order and captions


@given(
    buckets=st.lists(st.sampled_from("abc"), min_size=1, max_size=30),
    batch_size=st.integers(1, 5),
    epoch=st.integers(0, 3),
)
def test_an_epoch_uses_every_sample_and_never_mixes_buckets(buckets, batch_size, epoch):
    repeats = [1 + index % 3 for index in range(len(buckets))]
    batches = epoch_batches(buckets, repeats, batch_size=batch_size, seed=1, epoch=epoch)
    counts = Counter(index for batch in batches for index in batch)
    assert all(counts[index] >= repeat for index, repeat in enumerate(repeats))
    assert sum(counts.values()) - sum(repeats) < batch_size * len(set(buckets))
    assert all(len(batch) == batch_size for batch in batches)
    assert all(len({buckets[index] for index in batch}) == 1 for batch in batches)
    assert batches == epoch_batches(buckets, repeats, batch_size=batch_size, seed=1, epoch=epoch)


def test_steps_walk_through_the_epochs():
    one = OrderedSet(buckets=("a",) * 5 + ("b",) * 3, repeats=(1,) * 8)
    order = SampleOrder(sets=(one,), batch_size=2, seed=3)
    per_epoch = len(epoch_batches(one.buckets, one.repeats, batch_size=2, seed=3, epoch=0))
    for epoch in range(2):
        found = [order.at(epoch * per_epoch + step) for step in range(per_epoch)]
        assert [batch.indices for batch in found] == epoch_batches(
            one.buckets, one.repeats, batch_size=2, seed=3, epoch=epoch
        )
        assert {batch.epoch for batch in found} == {epoch}


def test_sets_are_mixed_by_their_weights():
    sets = tuple(OrderedSet(buckets=("a",) * 7, repeats=(1,) * 7, weight=weight) for weight in (2.0, 1.0))
    order = SampleOrder(sets=sets, batch_size=1, seed=0)
    batches = [order.at(step) for step in range(600)]
    assert Counter(batch.set_index for batch in batches) == {0: 400, 1: 200}
    for index in range(2):
        used = Counter(batch.indices[0] for batch in batches if batch.set_index == index)
        assert max(used.values()) - min(used.values()) <= 1


def test_captions_are_changed_and_drawn():
    config = CaptionConfig(prefix="style, ", trigger="xyz", dropout=0.25)
    assert config.texts(["[trigger] runs", "a dog", "xyz sits"]) == (
        "style, xyz runs",
        "style, xyz a dog",
        "style, xyz sits",
    )
    drawn = Counter(config.draw(["a", "b"], 0, step, 0) for step in range(2000))
    assert set(drawn) == {"", "style, xyz a", "style, xyz b"}
    assert 0.2 < drawn[""] / 2000 < 0.3
    assert config.draw(["a", "b"], 0, 7, 1) == config.draw(["a", "b"], 0, 7, 1)
    with pytest.raises(UserError, match="share of 0 to 1"):
        CaptionConfig(dropout=2.0)


# ---- captions by a model


class Server(http.server.BaseHTTPRequestHandler):
    """An OpenAI-compatible endpoint that fails first, then describes."""

    failures = 0
    requests: list[dict]

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.answer(200, {"data": [{"id": "tiny-vlm"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = type(self)
        if server.failures > 0:
            server.failures -= 1
            self.answer(503, {"error": "loading"})
            return
        server.requests.append(body)
        captions = {
            "short": "a pan",
            "medium": "A camera pans.",
            "full": "A camera pans over a wall. A ball moves.",
        }
        self.answer(200, {"choices": [{"message": {"content": f"```json\n{json.dumps(captions)}\n```"}}]})

    def answer(self, code, values):
        data = json.dumps(values).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def endpoint():
    Server.failures, Server.requests = 2, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


def test_an_endpoint_describes_clips_without_captions(curated, endpoint):
    captioner = EndpointCaptioner(url=endpoint, retry_seconds=0.01, parallel=2).with_model()
    assert captioner.name == "endpoint:tiny-vlm"
    rows = read_clips(curated)
    lacking = [row for row in rows if row.caption_source == "file_name" and row.kept]
    steps = write_captions(curated, rows, captioner)
    for step in steps:
        if step.done == 1:
            break
    steps.close()  # interrupted
    with (curated / "captions.jsonl").open("a") as file:
        file.write('{"clip_id": "half')
    (*_, last) = write_captions(curated, rows, captioner)
    assert (last.done, last.total) == (len(lacking), len(lacking))
    assert len(load_captions(curated)) == len(lacking)
    content = Server.requests[0]["messages"][0]["content"]
    assert content[1]["image_url"]["url"].startswith("data:image/jpeg;base64,")
    num_requests = len(Server.requests)
    filter_set(curated, load_options(curated))
    for row in read_clips(curated):
        if row.kept:
            described = row.clip_id in {one.clip_id for one in lacking}
            assert row.caption_source == ("endpoint:tiny-vlm" if described else "sidecar")
            assert not described or row.captions == (
                "A camera pans.", "a pan", "A camera pans over a wall. A ball moves."
            )  # fmt: skip
    list(write_captions(curated, read_clips(curated), captioner))
    assert len(Server.requests) == num_requests  # cached


def test_an_endpoint_that_does_not_answer_is_one_line():
    captioner = EndpointCaptioner(url="http://127.0.0.1:9/v1", model="m", retry_seconds=0.001)
    with pytest.raises(UserError, match="does not answer") as error:
        captioner.describe([Image.fromarray(np.zeros((8, 8, 3), np.uint8))])
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="is not an address"):
        EndpointCaptioner(url="localhost", model="m").describe([])


def test_answers_of_models():
    assert parse_answer('{"short": "a", "medium": "b  c", "full": "d"}') == ["b c", "a", "d"]
    assert parse_answer("Just a\nsentence.") == ["Just a sentence."]
    assert parse_answer('{"broken": ') == ['{"broken":']
    with pytest.raises(UserError, match="empty answer"):
        parse_answer(" ")
