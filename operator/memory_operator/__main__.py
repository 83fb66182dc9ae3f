"""``python -m memory_operator``: the same as ``memory-operator``."""

from memory_operator.cli import main

main(prog_name="memory-operator")
