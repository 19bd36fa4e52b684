"""`python -m convpress` is the command `convpress`."""

from convpress.cli import main

main()
