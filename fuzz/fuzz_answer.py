"""The target `answer` under atheris; options are libFuzzer's."""

from harness import main

main("answer")
