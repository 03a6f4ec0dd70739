"""Convolution kernels in float32 on a CPU without autograd: `kernels.py` and `winograd.py`."""
