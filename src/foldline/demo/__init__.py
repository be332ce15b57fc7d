"""The demo: Valleyfold, a small shop for paper and what folds it, written as a user would write it."""
