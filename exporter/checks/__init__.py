"""An answer, and why it is not good: the text, the numbers and the images, each in its module; the verdict in judge."""
