"""What people say about a run's responses: how it is kept, whom to ask what next, who agrees."""
