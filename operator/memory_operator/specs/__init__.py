"""Pure builders: from a MemoryNamespace to Kubernetes manifests, one file a kind.

Nothing here reads the world; the same input gives the same manifest. Local mode runs what these manifests say.
"""
