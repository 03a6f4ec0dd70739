"""A process that estimates the cost of one request: the API process has no model.

    python -m kinema.server.estimate_worker MODEL DEVICE REQUEST

REQUEST is `VideoRequest.to_dict()` as JSON. Standard output is JSON with seconds, peak_memory and
available_memory.
"""

from __future__ import annotations

import json
import sys

from kinema.errors import UserError
from kinema.pipeline.request import VideoRequest
from kinema.server.child_process import lower_priority


def estimate_cost(model: str, device: str, request: VideoRequest) -> dict[str, float]:
    """Time in seconds and memory in bytes.

    Raises:
        UserError: the model can't generate the video.
    """
    from kinema.pipeline.pipeline import load

    pipeline = load(model, device=device)
    estimate = pipeline.estimate(pipeline.resolve(request))
    return {
        "seconds": estimate.seconds,
        "peak_memory": estimate.peak_bytes,
        "available_memory": estimate.available,
    }


def main() -> None:
    """Estimate. Exits with 2 and one line where the video can't be generated."""
    model, device, request = sys.argv[1:]
    lower_priority()
    try:
        result = estimate_cost(
            model, device, VideoRequest.from_dict(json.loads(request), source="the request")
        )
    except UserError as error:
        print(str(error), file=sys.stderr)
        sys.exit(2)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
