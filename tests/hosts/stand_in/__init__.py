"""A stand-in for vLLM and what it brings along: no engine, only its words and its timing, as a test asks for them."""
