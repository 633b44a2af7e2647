"""The command line: each command reads its options, calls karat, and prints.

One file for each group of commands; what they need is imported when a command runs, so that
`karat --help` stays quick.
"""

from __future__ import annotations

from karat.cli import cycling as cycling
from karat.cli import data as data
from karat.cli import lifting as lifting
from karat.cli import models as models
from karat.cli import publishing as publishing
from karat.cli import reporting as reporting
from karat.cli import reviewing as reviewing
from karat.cli import rewards as rewards
from karat.cli import runs as runs
from karat.cli import serving as serving
from karat.cli import training as training
from karat.cli._base import main as main
