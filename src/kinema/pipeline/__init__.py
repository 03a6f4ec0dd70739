"""From a request to a video: resolve, plan segments, encode, sample, decode."""
