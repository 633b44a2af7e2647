"""A run as its files say it is, whatever became of it.

summary  one line about each, for the list of runs
pulse    what has changed among them, for whoever listens
view     one run whole, for its page
drawn    what is worked out from its rows, and kept
tables   its figures as files
files    the files that a page may hand out
"""
