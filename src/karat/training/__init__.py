"""Training: reward models from human ratings."""
