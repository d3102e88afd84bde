"""What goes to the large run: the export and its texts."""
