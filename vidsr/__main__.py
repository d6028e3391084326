"""`python -m vidsr` is `vidsr`."""

from vidsr.cli import main

main()
