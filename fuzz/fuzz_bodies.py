"""The target `bodies` under atheris; options are libFuzzer's."""

from harness import main

main("bodies")
