"""What a comparison of models is made of: a trial of each, what it cost, and what may be said."""
