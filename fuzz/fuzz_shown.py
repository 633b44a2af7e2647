"""The target `shown` under atheris; options are libFuzzer's."""

from harness import main

main("shown")
