"""The simulated film set: scenes that move by physics, a picture of them, and captions that are true."""
