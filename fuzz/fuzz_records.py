"""The target `records` under atheris; options are libFuzzer's."""

from harness import main

main("records")
