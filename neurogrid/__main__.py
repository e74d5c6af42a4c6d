"""`python -m neurogrid`."""

from neurogrid.cli import main

main()
