"""Tasks of point masses that push each other."""
