"""Write the prompts of the evaluation set `whole`: `python -m tools.whole_prompts`."""

from __future__ import annotations

import json

from kinema.atomic_io import write_text
from kinema.evaluation.whole_prompts import PROMPTS_FILE, list_scenes, prompt_to_json, render_scene


def main() -> None:
    """Sample the scenes and write the file."""
    rows = [prompt_to_json(render_scene(*scene, render=False)[0]) for scene in list_scenes()]
    text = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    write_text(PROMPTS_FILE, f"[\n{text}\n]\n")
    print(f"{len(rows)} prompts in {PROMPTS_FILE}")


if __name__ == "__main__":
    main()
