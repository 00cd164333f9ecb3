"""Kubernetes objects and Ray's answers as frozen values. Pure: nothing here talks to a cluster."""
