"""What `./dev` does, one idea per module. Standard library only."""
