"""What is said wherever drawn images are shown or scored?"""

SYNTHETIC = "Synthetic images: a mechanism test, not clinical evidence."
