"""The steps karat ships: one file each, found by name."""
