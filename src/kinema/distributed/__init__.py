"""Process groups: sharded training, and one video on several processes."""
