"""What the Makefile and the checks run: nothing here ships with the package."""
