"""The picture of the film set: an analytic ray tracer. Start at `tracer.render`."""
