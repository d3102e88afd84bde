"""What mixes information over time: attention and the gated delta rule."""
