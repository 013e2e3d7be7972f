"""cxrvl: experiments for chest-X-ray vision-language research."""

__version__ = "0.1.0"
