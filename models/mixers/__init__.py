"""What mixes information over time: each mixer a folder with its declaration and its forward pass."""
