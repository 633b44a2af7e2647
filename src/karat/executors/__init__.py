"""Executors: where steps happen. An executor never decides, records or reorders."""
