"""`python -m socketlab.cli`."""

from socketlab.cli import main

main()
