"""The functions of the ray tracer: Python over arrays, compiled for the CPU and for CUDA from one source.

The compiler (`kinema.simulator.render.kernel_compiler`) narrows every float literal to single precision, so
numbers that are combined with float32 values are written with a decimal point.
"""
