"""`python -m snnc` is the command `snnc`."""

from snnc.cli import main

main(prog_name="snnc")
