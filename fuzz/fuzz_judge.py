"""The target `judge` under atheris; options are libFuzzer's."""

from harness import main

main("judge")
