"""The simulator: random physical scenes, rendered to videos with exact annotations and captions.

One clip: `scene_sampler.sample_scene` chooses an event, simulates proposals until the requested outcome
happens and finds a camera; `render_scene.build_render_scene` adds appearance; `render.tracer.render` renders;
`annotate.annotate_clip` measures; `captions.generate_captions` describes. `clip.make_clip` runs these steps
and `parallel_render.render_dataset` writes datasets.
"""
