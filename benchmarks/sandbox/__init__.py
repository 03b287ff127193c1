"""How fast the sandbox answers: it must never be what a client's benchmark measures."""
