"""The write side: from a command to recorded events and a receipt."""
