"""How right a reward is on what people have judged: `karat reward eval`."""
