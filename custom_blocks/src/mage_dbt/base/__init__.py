"""The ground: git, files, text, redaction, secrets, processes; of ours it imports errors alone."""
