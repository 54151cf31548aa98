"""Being told: what is worth a message, its words, and the channels it goes out on."""
