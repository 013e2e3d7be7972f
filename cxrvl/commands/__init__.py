"""The commands behind the command line, one file each; every one imports what it needs when it is called."""
