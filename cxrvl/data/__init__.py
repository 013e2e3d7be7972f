"""Images, labels, splits and everything between a file on disk and a batch."""
