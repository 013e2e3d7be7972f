"""Reports: which sections and sentences a text has, how it is cleaned, joined and rewritten."""
