"""What leaves the house with a dataset: its papers, and the push to the Hub."""
