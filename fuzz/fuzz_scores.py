"""The target `scores` under atheris; options are libFuzzer's."""

from harness import main

main("scores")
