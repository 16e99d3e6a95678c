"""Which images to label next, and which given labels are probably wrong: scores of images."""
