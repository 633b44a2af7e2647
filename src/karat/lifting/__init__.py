"""Proof of lift: whether students trained on what karat chose do better than on anything else."""
