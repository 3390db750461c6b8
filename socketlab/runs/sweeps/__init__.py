"""Many runs from one file: the grid, what its runs share, and who executes them."""
