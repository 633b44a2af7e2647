"""Whether a reward does what it seems to: `karat reward check`."""
