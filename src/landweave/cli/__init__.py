"""The commands, by what they work on; `landweave.__main__` gathers them into one program."""
