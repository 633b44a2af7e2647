"""The target `stream` under atheris; options are libFuzzer's."""

from harness import main

main("stream")
