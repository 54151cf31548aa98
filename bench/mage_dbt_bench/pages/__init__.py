"""The page beside a large project and a long history."""
