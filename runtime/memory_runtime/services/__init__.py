"""One use case a module: store, recall, forget, follow the changes, expire. They know domain and ports, no driver."""
