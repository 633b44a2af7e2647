"""The target `names` under atheris; options are libFuzzer's."""

from harness import main

main("names")
