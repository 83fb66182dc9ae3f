"""The parts that the two resources of ``v1alpha1`` are made of, one file a subject.

A field is here only when it works; its text, bounds and rules become the CRD, the reference and the error messages.
"""
