"""The page at `/` and the reference at `/docs`: plain files that contact no host but their own."""
