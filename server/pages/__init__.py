"""Pages for people: no build step, and they work without scripts."""
