"""Models: one client for every kind of LLM service, and the services themselves."""
