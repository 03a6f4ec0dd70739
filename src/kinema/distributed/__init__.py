"""Process groups and sharding for training in several processes."""
