"""What the large run imports: parameter groups, first values and multipliers from an export."""
