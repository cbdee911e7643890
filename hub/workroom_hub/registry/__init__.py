"""The image registry as its users see it: names, tokens, what is in it, what people get next."""
