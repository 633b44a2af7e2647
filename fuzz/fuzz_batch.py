"""The target `batch` under atheris; options are libFuzzer's."""

from harness import main

main("batch")
