"""The target `template` under atheris; options are libFuzzer's."""

from harness import main

main("template")
