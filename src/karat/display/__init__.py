"""What a notebook, and a prompt, show of karat's objects."""
