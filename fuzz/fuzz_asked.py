"""The target `asked` under atheris; options are libFuzzer's."""

from harness import main

main("asked")
