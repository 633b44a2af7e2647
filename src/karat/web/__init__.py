"""The gateway and the dashboard: one process, one API to every model, one page for every run."""
