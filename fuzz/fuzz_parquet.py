"""The target `parquet` under atheris; options are libFuzzer's."""

from harness import main

main("parquet")
