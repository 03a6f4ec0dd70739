"""An analytic ray tracer for simulated scenes. The entry point is `tracer.render`."""
