"""Tables: a paper's rows read from predictions, compared, tested and printed beside the published numbers."""
