"""The numbered SQL files that make a store's schema; a released one never changes."""
