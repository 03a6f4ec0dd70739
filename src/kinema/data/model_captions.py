"""Captions that a vision-language model writes, kept next to the set.

The model is behind any OpenAI-compatible address (vLLM, Ollama, a hosted service), or runs here through
transformers. Each answer is written at once, so an interrupted run continues with the next clip.
"""

from __future__ import annotations

import base64
import io
import json
import os
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from PIL import Image

from kinema.data.clip_reader import ClipRequest, read_order, read_requests
from kinema.data.clip_table import ClipRow
from kinema.errors import UserError
from kinema.frames import FrameArray
from kinema.media.contact_sheet import evenly_spaced

CAPTIONS_FILE = "captions.jsonl"
STYLES = ("medium", "short", "full")
"""The captions of a clip: one sentence, a few words, a paragraph."""
PROMPT = (
    "These images are frames of one video clip, in order of time. Describe the video for training a "
    "text-to-video model: subjects, what they do and how they move, setting, light, camera movement. "
    "Do not mention frames or images. Answer with a JSON object of three strings: "
    '"short" (3 to 8 words), "medium" (one sentence), "full" (three to five sentences).'
)
FRAMES_PER_CLIP, MAX_SIDE = 8, 448
"""Frames that the model sees, and their longest side in pixels."""
_RETRIES = 5
_RETRY_CODES = {408, 409, 425, 429, 500, 502, 503, 504}


@runtime_checkable
class Captioner(Protocol):
    """Describes clips."""

    @property
    def name(self) -> str:
        """Stands in `caption_source`."""
        ...

    @property
    def parallel(self) -> int:
        """Clips that it describes at a time."""
        ...

    def describe(self, frames: Sequence[Image.Image]) -> str:
        """The model's answer to `PROMPT`.

        Raises:
            UserError: the model does not answer.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class EndpointCaptioner:
    """A model behind an OpenAI-compatible address. The key is read from `OPENAI_API_KEY`.

    Attributes:
        url: for example `http://localhost:8000/v1`.
        model: its name there; empty takes the first that the server lists.
        parallel: requests at a time.
        timeout: seconds until a request is repeated.
        retry_seconds: wait before the first repetition; it doubles each time.
    """

    url: str
    model: str = ""
    parallel: int = 4
    timeout: float = 180.0
    retry_seconds: float = 1.0

    @property
    def name(self) -> str:
        """`endpoint:` and the model."""
        return f"endpoint:{self.model or self.url}"

    def with_model(self) -> EndpointCaptioner:
        """The same with a model's name.

        Raises:
            UserError: the server can't be reached or has no model.
        """
        if self.model:
            return self
        answer = self._request("models", None)
        try:
            model = str(answer["data"][0]["id"])
        except (KeyError, IndexError, TypeError):
            raise UserError(f"{self.url} lists no model; name one with --caption-model-name") from None
        return EndpointCaptioner(
            url=self.url,
            model=model,
            parallel=self.parallel,
            timeout=self.timeout,
            retry_seconds=self.retry_seconds,
        )

    def describe(self, frames: Sequence[Image.Image]) -> str:
        """The model's answer.

        Raises:
            UserError: the server refuses the request, or does not answer after several tries.
        """
        content: list[dict[str, object]] = [{"type": "text", "text": PROMPT}]
        for frame in frames:
            buffer = io.BytesIO()
            frame.save(buffer, "JPEG", quality=90)
            data = base64.b64encode(buffer.getvalue()).decode()
            content.append({"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}})
        answer = self._request(
            "chat/completions",
            {
                "model": self.model,
                "messages": [{"role": "user", "content": content}],
                "temperature": 0,
                "max_tokens": 600,
            },
        )
        try:
            return str(answer["choices"][0]["message"]["content"])
        except (KeyError, IndexError, TypeError):
            raise UserError(
                f"{self.url} answered without a message; is it an OpenAI-compatible server?"
            ) from None

    def _request(self, route: str, body: dict[str, object] | None) -> Any:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("OPENAI_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body).encode()
        base = self.url.rstrip("/").removesuffix("/chat/completions")
        if not base.startswith(("http://", "https://")):
            raise UserError(f"{self.url} is not an address; give http://HOST:PORT/v1")
        wait = self.retry_seconds
        problem = ""
        for attempt in range(_RETRIES):
            if attempt:
                time.sleep(wait)
                wait *= 2
            request = urllib.request.Request(f"{base}/{route}", data=data, headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as response:
                    return json.load(response)
            except urllib.error.HTTPError as error:
                with error:
                    detail = error.read(300).decode("utf-8", "replace").strip().replace("\n", " ")
                problem = f"HTTP {error.code}: {detail}"
                if error.code not in _RETRY_CODES:
                    raise UserError(
                        f"{base} refused the request ({problem}); check the model and the key"
                    ) from None
                wait = max(wait, _retry_after(error))
            except (OSError, ValueError) as error:
                problem = str(getattr(error, "reason", error))
        raise UserError(
            f"{base} does not answer ({problem}); start the server and run the command again"
        ) from None


class TransformersCaptioner:
    """A vision-language model that runs here, through transformers' `image-text-to-text` classes."""

    parallel = 1

    def __init__(self, model_id: str, *, device: str = "cpu", max_new_tokens: int = 400) -> None:
        """Load a model.

        Args:
            model_id: folder, or `owner/name` on the Hugging Face hub.
            device: where it runs.
            max_new_tokens: longest answer.

        Raises:
            UserError: it can't be loaded or is no vision-language model.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor

        try:
            self._processor = AutoProcessor.from_pretrained(model_id, trust_remote_code=False)
            self._model = AutoModelForImageTextToText.from_pretrained(
                model_id, use_safetensors=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{model_id} can't be loaded as a vision-language model ({reason})") from None
        self._model.to(device).eval()
        self._max_new_tokens = max_new_tokens
        self.name = f"model:{model_id}"

    def describe(self, frames: Sequence[Image.Image]) -> str:
        """The model's answer, by greedy decoding."""
        import torch

        content = [*({"type": "image", "image": frame} for frame in frames), {"type": "text", "text": PROMPT}]
        inputs = self._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(self._model.device)
        with torch.inference_mode():
            tokens = self._model.generate(**inputs, max_new_tokens=self._max_new_tokens, do_sample=False)
        answer = tokens[0, inputs["input_ids"].shape[1] :]
        return self._processor.decode(answer, skip_special_tokens=True)


@dataclass(frozen=True, kw_only=True)
class CaptionProgress:
    """Clips described so far, of `total`; those of earlier runs count."""

    done: int
    total: int


def write_captions(folder: Path, rows: Sequence[ClipRow], captioner: Captioner) -> Iterator[CaptionProgress]:
    """Describe kept clips that have no caption of their own, and append the answers to `captions.jsonl`.

    Clips that are described already are left out.

    Raises:
        UserError: the model does not answer; what it has answered is kept.
    """
    known = load_captions(folder)
    lacking = [
        row for row in rows if row.kept and (row.caption_source in ("", "file_name") or row.clip_id in known)
    ]
    missing = [row for row in lacking if row.clip_id not in known]
    done = len(lacking) - len(missing)
    yield CaptionProgress(done=done, total=len(lacking))
    requests = [
        ClipRequest(row=row, picks=tuple(evenly_spaced(len(row.frames), FRAMES_PER_CLIP))) for row in missing
    ]
    path = folder / CAPTIONS_FILE
    _end_last_line(path)
    with path.open("a", encoding="utf-8") as file, ThreadPoolExecutor(captioner.parallel) as pool:
        running: deque[tuple[str, Future[str]]] = deque()

        def finish() -> None:
            clip_id, answer = running.popleft()
            values = {
                "clip_id": clip_id,
                "source": captioner.name,
                "captions": parse_answer(answer.result()),
            }
            file.write(json.dumps(values, ensure_ascii=False) + "\n")
            file.flush()

        try:
            for request, frames in read_requests(sorted(requests, key=read_order)):
                running.append((request.row.clip_id, pool.submit(captioner.describe, _to_images(frames))))
                if len(running) >= 2 * captioner.parallel:
                    finish()
                    done += 1
                    yield CaptionProgress(done=done, total=len(lacking))
            while running:
                finish()
                done += 1
                yield CaptionProgress(done=done, total=len(lacking))
        finally:
            for _, answer in running:
                answer.cancel()


def parse_answer(answer: str) -> list[str]:
    """The captions of an answer, in the order of `STYLES`; an answer that is no JSON is one caption.

    Raises:
        UserError: the answer is empty.
    """
    text = answer.strip()
    start, stop = text.find("{"), text.rfind("}")
    if start >= 0 and stop > start:
        try:
            values = json.loads(text[start : stop + 1])
        except json.JSONDecodeError:
            values = {}
        found = [" ".join(str(values[style]).split()) for style in STYLES if values.get(style)]
        if found:
            return list(dict.fromkeys(found))
    if not text:
        raise UserError("the caption model gave an empty answer; choose a model that sees images")
    return [" ".join(text.split())]


def load_captions(folder: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Source and captions of each clip_id; the last entry counts. A half-written line is ignored."""
    path = folder / CAPTIONS_FILE
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    if not path.is_file():
        return found
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            values = json.loads(line)
            captions = tuple(str(text) for text in values["captions"] if str(text).strip())
            clip_id, source = str(values["clip_id"]), str(values["source"])
        except (ValueError, KeyError, TypeError):
            continue
        if captions:
            found[clip_id] = (source, captions)
    return found


def _end_last_line(path: Path) -> None:
    """Close a line that an interrupted run left half-written, so that the next one is not lost with it."""
    if path.is_file() and (data := path.read_bytes()) and not data.endswith(b"\n"):
        with path.open("ab") as file:
            file.write(b"\n")


def _to_images(frames: FrameArray) -> list[Image.Image]:
    images = [Image.fromarray(frame) for frame in frames]
    for image in images:
        image.thumbnail((MAX_SIDE, MAX_SIDE))
    return images


def _retry_after(error: urllib.error.HTTPError) -> float:
    """The wait that a server asks for, at most a minute."""
    try:
        return min(60.0, float(error.headers.get("Retry-After", 0)))
    except ValueError:
        return 0.0
