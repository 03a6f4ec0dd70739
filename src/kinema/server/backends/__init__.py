"""What generates videos in a worker: the pipeline, or a fake for tests of clients."""
