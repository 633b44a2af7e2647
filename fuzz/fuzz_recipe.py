"""The target `recipe` under atheris; options are libFuzzer's."""

from harness import main

main("recipe")
