"""The tracer's own functions: plain Python over arrays, compiled for the CPU and for CUDA from one source.

Every literal in these modules is narrowed to single precision when it is compiled
(`kinema.simulator.render.kernel_compiler`), so numbers that meet float32 values are written with a point.
"""
