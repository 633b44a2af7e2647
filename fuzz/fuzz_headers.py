"""The target `headers` under atheris; options are libFuzzer's."""

from harness import main

main("headers")
