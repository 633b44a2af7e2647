"""Rewards: whatever grades a response, one file each."""
