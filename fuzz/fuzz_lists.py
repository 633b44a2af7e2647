"""The target `lists` under atheris; options are libFuzzer's."""

from harness import main

main("lists")
