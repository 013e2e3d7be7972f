"""One file per public data set: where its rows, labels, splits and pixels come from."""
