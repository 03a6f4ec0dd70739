"""Use a running server with the official OpenAI client.

Start a server first, in another terminal:

    kinema serve --port 8000 --data server-data --model world

Then: python 07_serve_client.py [URL]
"""

import sys

from openai import OpenAI

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
client = OpenAI(base_url=f"{url}/v1", api_key="none")

model = client.models.list().data[0].id
video = client.videos.create_and_poll(
    model=model,
    prompt="a red ball rolls to the left",
    # Fields beyond the OpenAI API are those of kinema.VideoRequest.
    extra_body={"num_inference_steps": 8, "seed": 1},
)
print(video.status, video.id)
client.videos.download_content(video.id).write_to_file("served.mp4")
