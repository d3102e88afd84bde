"""The verdict as text, pictures and one self-contained page."""
