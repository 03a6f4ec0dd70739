"""`kinema bench`: ratios against peers, measured in one run."""
