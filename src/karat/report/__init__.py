"""Reports: what a run did, as numbers (report.json) and as text on a terminal."""
