"""The data commands, a module for each group of them; arguments in, one call of the client, an answer out."""
