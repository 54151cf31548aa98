"""What runs in the others' environments: one file each, as their documentation recommends."""
