"""What runs in the processes that `_sandbox` starts: standard library alone, and nothing of karat.

`launch` is trusted and forks one process per case; `locks` is what that process does to itself
before it reads a line of the tested code; `trial` runs it. The launcher loads them by their bare
names, without karat, so that a check costs the start of a bare interpreter.
"""
